//! One arena: what lasts in front, behind it homes and scratch memory laid over one another by lifetime.

use super::homes::Homes;
use crate::arena::ALIGN;
use crate::units::Unit;
use striate_graph::Graph;

/// Where everything lies, in bytes.
pub(crate) struct Layout {
    pub homes: Vec<usize>,
    pub workspaces: Vec<usize>,
    pub prepared: Vec<usize>,
    pub bytes: usize,
    pub persistent: usize,
}

/// A piece of memory, in bytes, and the units, first to last, during which it is in use.
struct Piece {
    len: usize,
    first: usize,
    last: usize,
    slot: Slot,
}

#[derive(Clone, Copy)]
enum Slot {
    Home(usize),
    Workspace(usize),
}

/// Lays out homes, workspaces and prepared weights (`demands`: a unit's floats of each); `None` where the sum
/// overflows.
pub(crate) fn lay_out(
    graph: &Graph,
    units: &[Unit],
    homes: &Homes,
    demands: &[[usize; 2]],
) -> Option<Layout> {
    let mut layout = Layout {
        homes: vec![0; homes.sizes.len()],
        workspaces: vec![0; units.len()],
        prepared: vec![0; units.len()],
        bytes: 0,
        persistent: 0,
    };
    let mut lives: Vec<Option<[usize; 2]>> = vec![None; homes.sizes.len()];
    let mut extend = |home: usize, at: usize| {
        let life = lives[home].get_or_insert([at, at]);
        *life = [life[0].min(at), life[1].max(at)];
    };
    for (index, unit) in units.iter().enumerate() {
        for home in unit.reads.iter().chain(&unit.writes).filter_map(|value| homes.home(*value)) {
            extend(home, index);
        }
    }
    for home in graph.outputs().iter().filter_map(|output| homes.home(output.value)) {
        extend(home, units.len());
    }
    let lasting: Vec<usize> = graph
        .nodes()
        .filter(|(_, node)| node.op.is_leaf())
        .flat_map(|(_, node)| &node.outputs)
        .filter_map(|value| homes.home(*value))
        .collect();

    for home in lasting {
        lives[home] = None;
        layout.homes[home] = layout.persistent;
        layout.persistent = aligned(layout.persistent.checked_add(homes.sizes[home])?)?;
    }
    let bytes = |floats: usize| floats.checked_mul(size_of::<f32>());
    for (index, [_, prepared]) in demands.iter().enumerate() {
        layout.prepared[index] = layout.persistent;
        layout.persistent = aligned(layout.persistent.checked_add(bytes(*prepared)?)?)?;
    }

    let mut pieces = Vec::new();
    for (home, life) in lives.iter().enumerate() {
        if let Some([first, last]) = *life {
            pieces.push(Piece { len: homes.sizes[home], first, last, slot: Slot::Home(home) });
        }
    }
    for (index, [workspace, _]) in demands.iter().enumerate().filter(|(_, demand)| demand[0] > 0) {
        let (len, slot) = (bytes(*workspace)?, Slot::Workspace(index));
        pieces.push(Piece { len, first: index, last: index, slot });
    }
    // The largest first, each at the lowest place that is free for its whole life.
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len));
    let mut laid: Vec<(usize, usize, usize, usize)> = Vec::new();
    layout.bytes = layout.persistent;
    for piece in pieces {
        let mut busy: Vec<(usize, usize)> = laid
            .iter()
            .filter(|(_, _, first, last)| *first <= piece.last && piece.first <= *last)
            .map(|(start, end, ..)| (*start, *end))
            .collect();
        busy.sort_unstable();
        let mut start = layout.persistent;
        for (from, to) in busy {
            if start.checked_add(piece.len)? <= from {
                break;
            }
            start = start.max(to);
        }
        let end = aligned(start.checked_add(piece.len)?)?;
        laid.push((start, end, piece.first, piece.last));
        layout.bytes = layout.bytes.max(end);
        match piece.slot {
            Slot::Home(home) => layout.homes[home] = start,
            Slot::Workspace(index) => layout.workspaces[index] = start,
        }
    }
    (layout.bytes <= isize::MAX as usize).then_some(layout)
}

/// The next offset that is aligned.
fn aligned(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(ALIGN)
}
