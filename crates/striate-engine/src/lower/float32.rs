//! Kernels that know float32 alone, for values stored in bfloat16: they run on float32 twins in scratch memory.

use super::{Frame, Lowered, Site, kernel};
use crate::arena::ALIGN;
use crate::place::{Place, Storage};
use std::cell::Cell;
use striate_graph::Value;

/// A value in bfloat16 and its float32 twin.
#[derive(Clone, Copy)]
struct Twin {
    narrow: Place,
    wide: Place,
}

/// Lowers the unit with every value in bfloat16 replaced by a twin.
pub(super) fn lower(site: &Site) -> Result<Lowered, String> {
    let (twins, len) = twins(site);
    let twin = |place: Place| twins.iter().find(|twin| twin.narrow == place);
    let wide = |value: Value| {
        let place = (site.place)(value);
        twin(place).map_or(place, |twin| twin.wide)
    };
    let inner = kernel(&Site { place: &wide, workspace: site.workspace + len, ..*site })?;

    // Conversions before and after; what is overwritten in place is both.
    let of = |values: &[Value]| -> Vec<Twin> {
        values.iter().filter_map(|value| twin((site.place)(*value)).copied()).collect()
    };
    let (read, written) = (of(&site.unit.reads), of(&site.unit.writes));
    let narrow = |places: &[Place]| -> Vec<Place> {
        let narrow = |place: &Place| twins.iter().find(|twin| twin.wide == *place).map(|twin| twin.narrow);
        places.iter().map(|place| narrow(place).unwrap_or(*place)).collect()
    };
    let (reads, writes) = (narrow(&inner.reads), narrow(&inner.writes));
    let Lowered { reads: wide_reads, writes: wide_writes, workspace, prepare, describe, convolution, kernel } =
        inner;
    let at = site.workspace + len;
    let lowered = Lowered::fallible(describe + ", in float32", reads, writes, move |f| {
        for twin in &read {
            f.widen(twin.narrow, twin.wide);
        }
        kernel(&Frame {
            reads: &wide_reads,
            writes: &wide_writes,
            workspace: [at, workspace],
            taken: Cell::new(0),
            ..*f
        })?;
        for twin in &written {
            f.narrow(twin.wide, twin.narrow);
        }
        Ok(())
    });
    Ok(Lowered { prepare, convolution, ..lowered }.with_workspace(len / size_of::<f32>() + workspace))
}

/// A twin for each place in bfloat16 that the unit touches, one behind the other in its scratch memory, and their bytes.
fn twins(site: &Site) -> (Vec<Twin>, usize) {
    let mut twins: Vec<Twin> = Vec::new();
    let mut len = 0;
    for value in site.unit.reads.iter().chain(&site.unit.writes) {
        let narrow = (site.place)(*value);
        if narrow.storage == Storage::Bf16 && twins.iter().all(|twin| twin.narrow != narrow) {
            let ld = narrow.channels();
            let wide = Place { offset: site.workspace + len, ld, storage: Storage::F32, ..narrow };
            len += wide.bytes().next_multiple_of(ALIGN);
            twins.push(Twin { narrow, wide });
        }
    }
    (twins, len)
}
