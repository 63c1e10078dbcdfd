//! `striate data`.

mod convert;
mod info;
mod preview;

use clap::{Args, Subcommand};

use crate::failure::Result;
use crate::options::Format;
use crate::sources;

/// Look into data sets, show what a network sees of them, write them in another form.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Data {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Info(info::Info),
    Preview(preview::Preview),
    Convert(convert::Convert),
}

const EXAMPLES: &str = "\
Examples:
  striate data info photos                          counts, sizes, classes, broken files
  striate data preview photos --augment flip,rrc=0.3 -o sheet.png
  striate data convert sheets:package -o cifar10:cifar
  striate data convert photos -o shards:shards --short-side 256

`striate data VERB --help` tells more.

";

fn after_help() -> String {
    EXAMPLES.to_string() + &sources::help()
}

impl Data {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        match self.what {
            What::Info(info) => info.run(format),
            What::Preview(preview) => preview.run(format),
            What::Convert(convert) => convert.run(format),
        }
    }
}
