//! `striate data convert`.

use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use striate::train::data::convert::{self, Conversion, Target};

use crate::failure::Result;
use crate::options::{Format, positive, write_json};
use crate::sources::{self, Reading};
use crate::text::{bytes, plural};

/// Write a data set in another form: folders, shards, CIFAR-10's binary files, IDX files.
///
/// Pictures keep the bytes of their files, unless they are made smaller: then what was JPEG is JPEG again (quality 95), all
/// else PNG. Pictures that cannot be used are left out.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Convert {
    /// The data set, see below
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where, and as what: folder:DIR, shards:DIR, cifar10:DIR or idx:DIR; DIR is empty or does not exist
    #[arg(short, long, value_name = "TARGET")]
    output: Target,
    /// Make pictures smaller whose shorter side has more pixels than this
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    short_side: Option<usize>,
    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  striate data convert sheets:package -o cifar10:cifar
  striate data convert photos -o shards:shards --short-side 256
  striate data convert mnist -o folder:digits

";

/// Bytes of a shard, about.
const SHARD: u64 = 256 << 20;

fn after_help() -> String {
    EXAMPLES.to_string() + &sources::help()
}

#[derive(Serialize)]
struct Outcome<'a> {
    folder: &'a Path,
    pictures: u64,
    files: u64,
    bytes: u64,
}

impl Convert {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let [train, test] = self.reading.both(&self.source)?;
        let Self { output: target, short_side, .. } = self;
        let conversion = Conversion { target, short_side, shard_bytes: SHARD };
        let bar = sources::bar("writing", "pictures");
        let converted = convert::convert([&train, &test], &conversion, &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let converted = converted?;
        let folder = conversion.target.dir.as_path();
        let convert::Converted { pictures, files, bytes: size } = converted;
        match format {
            Format::Json => write_json(&Outcome { folder, pictures, files, bytes: size }),
            Format::Table => {
                let (pictures, files) =
                    (plural(pictures as usize, "picture"), plural(files as usize, "file"));
                let folder = folder.display();
                Ok(writeln!(io::stdout().lock(), "{pictures} in {files} of {folder}, {}", bytes(size))?)
            }
        }
    }
}
