//! Equal neighbours as repetitions.

use super::build::numbered;
use super::layout::is_follower;
use super::parser::{Form, Item, Sequence};
use super::print::statement;
use super::words::Name;

/// The longest run of layers looked for as the body of a repetition.
const LONGEST_BODY: usize = 16;

/// Equal neighbours as repetitions, and scopes numbered one behind the other as one.
pub(super) fn compress(items: Sequence) -> Sequence {
    let items: Vec<Item> = items.into_iter().map(compress_inside).collect();
    let mut merged: Vec<Item> = Vec::new();
    for item in items {
        if let Some(times) = merged.last().and_then(|last| continues(last, &item))
            && let Some(Item { form: Form::Group { times: count, .. }, .. }) = merged.last_mut()
        {
            *count = Some(times + 1);
        } else {
            merged.push(item);
        }
    }
    let mut result = Vec::new();
    let mut rest = merged.as_slice();
    while let Some(first) = rest.first() {
        let repeats = |from: usize, body: usize| {
            let rest = rest.get(from..).unwrap_or_default();
            rest.chunks_exact(body).take_while(|chunk| *chunk == &rest[..body]).count()
        };
        let saved = |body: &usize| body * (repeats(0, *body) - 1);
        // A body begins with a layer that has weights where a start a little further on repeats as often.
        let begins_later = |body: usize| {
            is_follower(first)
                && (1..body).any(|from| !is_follower(&rest[from]) && repeats(from, body) >= repeats(0, body))
        };
        let body = (1..=LONGEST_BODY.min(rest.len() / 2))
            .rev()
            .max_by_key(saved)
            .filter(|body| saved(body) >= 2 && !begins_later(*body));
        match body {
            Some(body) => {
                let times = repeats(0, body);
                let group = Form::Group { body: rest[..body].to_vec(), times: Some(times) };
                result.push(statement(group));
                rest = &rest[body * times..];
            }
            None => {
                result.push(first.clone());
                rest = &rest[1..];
            }
        }
    }
    result
}

fn compress_inside(mut item: Item) -> Item {
    match &mut item.form {
        Form::Layer(layer) => {
            layer.branches = std::mem::take(&mut layer.branches).into_iter().map(compress).collect()
        }
        Form::Aux { body, .. } => *body = compress(std::mem::take(body)),
        Form::Group { body, times } => {
            *body = compress(std::mem::take(body));
            if times.is_none()
                && let Some(outer) = &item.name
                && let [
                    Item {
                        name: Some(inner), form: Form::Group { body: copies, times: Some(count) }, ..
                    },
                ] = body.as_slice()
            {
                let short = inner.text == "0" && numbered(&outer.text).is_none();
                let name = if short { outer.text.clone() } else { format!("{outer}.{inner}") };
                let form = Form::Group { body: copies.clone(), times: Some(*count) };
                return Item { name: Some(Name::of(name)), form, span: 0..0 };
            }
        }
        _ => {}
    }
    item
}

/// Whether `next` is the copy behind `last`, which counts this many so far.
fn continues(last: &Item, next: &Item) -> Option<usize> {
    let (Form::Group { body, times }, Form::Group { body: next_body, times: None }) =
        (&last.form, &next.form)
    else {
        return None;
    };
    let (name, next_name) = (last.name.as_ref()?, next.name.as_ref()?);
    let (base, first) = numbered(&name.text)?;
    let (next_base, number) = numbered(&next_name.text)?;
    let count = times.unwrap_or(1);
    (base == next_base && first.checked_add(count) == Some(number) && body == next_body).then_some(count)
}
