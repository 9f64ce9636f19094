//! Lists of models cut down to what a key may use, and addresses in answers pointed back at the gateway.
//!
//! Invariant: only what must change is spliced; every other byte stays as the provider sent it.

use crate::json::{Kind, ScanError, Scanner};
use crate::refuse::quote;

#[cfg(test)]
mod tests;

/// A model list of either dialect without the models that `may_use` refuses; `first_id` and `last_id`, where
/// there are any, follow. `None` when the body is no such list: it must not be shown then.
pub fn filter_models(body: &[u8], may_use: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let list = read_list(std::str::from_utf8(body).ok()?).ok()??;
    let kept: Vec<_> = list.items.iter().filter(|item| item.id.as_deref().is_some_and(&may_use)).collect();
    let data = kept.iter().map(|item| item.text).collect::<Vec<_>>().join(",");
    let id =
        |item: Option<&&Item<'_>>| item.and_then(|item| item.id.as_deref()).map_or("null".to_owned(), quote);
    let mut edits = vec![Edit { start: list.data.0, end: list.data.1, text: format!("[{data}]") }];
    edits.extend(list.first_id.map(|(start, end)| Edit { start, end, text: id(kept.first()) }));
    edits.extend(list.last_id.map(|(start, end)| Edit { start, end, text: id(kept.last()) }));
    Some(splice(body, edits))
}

/// A batch, or list of batches, of Anthropic's with each absolute `results_url` pointed at `base` (such as
/// `https://gateway.example:8080`): SDKs follow it with the client's key. `None` when nothing must change.
pub fn rewrite_results_url(body: &[u8], base: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut edits = Vec::new();
    find_results_urls(&mut Scanner::new(text), base.trim_end_matches('/'), true, &mut edits).ok()?;
    (!edits.is_empty()).then(|| splice(body, edits))
}

struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// Applies edits that do not overlap.
fn splice(body: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(body.get(at..edit.start).unwrap_or_default());
        out.extend_from_slice(edit.text.as_bytes());
        at = edit.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

type Span = (usize, usize);

struct List<'a> {
    items: Vec<Item<'a>>,
    data: Span,
    first_id: Option<Span>,
    last_id: Option<Span>,
}

struct Item<'a> {
    text: &'a str,
    id: Option<String>,
}

fn read_list(text: &str) -> Result<Option<List<'_>>, ScanError> {
    let mut scan = Scanner::new(text);
    let mut list = List { items: Vec::new(), data: (0, 0), first_id: None, last_id: None };
    let mut lists = 0;
    let mut step = scan.open_object()?;
    while let Some(key) = scan.next_key(&mut step)? {
        let start = scan.offset();
        if key.raw == "data" && scan.peek()? == Kind::Array {
            list.items = read_items(&mut scan)?;
            list.data = (start, scan.end_offset());
            lists += 1;
            continue;
        }
        scan.skip()?;
        let span = Some((start, scan.end_offset()));
        match key.decode().as_deref() {
            Some("first_id") => list.first_id = span,
            Some("last_id") => list.last_id = span,
            // Spelled with escapes, or no array: not what we can vouch for.
            Some("data") => return Ok(None),
            _ => {}
        }
    }
    scan.end()?;
    Ok((lists == 1).then_some(list))
}

fn read_items<'a>(scan: &mut Scanner<'a>) -> Result<Vec<Item<'a>>, ScanError> {
    let mut items = Vec::new();
    let mut step = scan.open_array()?;
    while scan.next_item(&mut step)? {
        let start = scan.offset();
        let id = read_id(scan)?;
        items.push(Item { text: scan.since(start), id });
    }
    Ok(items)
}

/// Skips an item; its `id` when it has exactly one.
fn read_id(scan: &mut Scanner<'_>) -> Result<Option<String>, ScanError> {
    if scan.peek()? != Kind::Object {
        scan.skip()?;
        return Ok(None);
    }
    let mut ids = Vec::new();
    let mut step = scan.open_object()?;
    while let Some(key) = scan.next_key(&mut step)? {
        if key.decode().as_deref() == Some("id") && scan.peek()? == Kind::String {
            ids.push(scan.string()?.decode().map(std::borrow::Cow::into_owned));
        } else {
            scan.skip()?;
        }
    }
    Ok(if ids.len() == 1 { ids.pop().flatten() } else { None })
}

fn find_results_urls(
    scan: &mut Scanner<'_>,
    base: &str,
    may_be_list: bool,
    edits: &mut Vec<Edit>,
) -> Result<(), ScanError> {
    let mut step = scan.open_object()?;
    while let Some(key) = scan.next_key(&mut step)? {
        match (key.raw, scan.peek()?) {
            ("results_url", Kind::String) => {
                let start = scan.offset();
                let url = scan.string()?.decode();
                if let Some(path) = url.as_deref().and_then(path_of) {
                    edits.push(Edit { start, end: scan.end_offset(), text: quote(&format!("{base}{path}")) });
                }
            }
            ("data", Kind::Array) if may_be_list => {
                let mut items = scan.open_array()?;
                while scan.next_item(&mut items)? {
                    match scan.peek()? {
                        Kind::Object => find_results_urls(scan, base, false, edits)?,
                        _ => drop(scan.skip()?),
                    }
                }
            }
            _ => drop(scan.skip()?),
        }
    }
    Ok(())
}

/// The path and query of an absolute web address.
fn path_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    rest.find('/').and_then(|at| rest.get(at..))
}
