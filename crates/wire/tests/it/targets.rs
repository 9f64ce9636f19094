//! What the fuzz targets do. The same functions run here on made-up inputs, so that every build exercises them.
//!
//! Each takes any bytes and panics when a promise of the crate is broken.

use bytes::BytesMut;
use tokenwatch_model::outcome::Cut;
use tokenwatch_model::provider::{Dialect, ENDPOINTS, Endpoint};
use tokenwatch_model::time::Timestamp;
use tokenwatch_model::usage::{PriceSource, TokenUsage};
use tokenwatch_wire::answer::{Asked, Step, take_head};
use tokenwatch_wire::client::{FIELD_LEN_MAX, client};
use tokenwatch_wire::encoding::{Encoding, StreamDecoder, accept_encoding, decode};
use tokenwatch_wire::inventory::{self, Listing, Next, PAGES_MAX, complaint, read_page, removals};
use tokenwatch_wire::price::{PriceTable, cost, worst_case};
use tokenwatch_wire::request::{ShapeKey, parse, with_include_usage};
use tokenwatch_wire::route::{dialects_of, normalize, route};
use tokenwatch_wire::tap::{Pass, Tap, TapConfig, TapSummary};

/// Takes the first byte as a choice.
fn choose(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}

fn dialect(choice: usize) -> Dialect {
    if choice.is_multiple_of(2) { Dialect::OpenAi } else { Dialect::Anthropic }
}

fn endpoint(choice: usize) -> Endpoint {
    ENDPOINTS.get(choice / 2 % ENDPOINTS.len()).copied().unwrap_or(Endpoint::Other)
}

/// Request bodies: what is accepted is JSON to a second parser, and asking for usage adds that and no more.
pub(crate) fn request_parse(data: &[u8]) {
    let (choice, body) = choose(data);
    let (dialect, endpoint) = (dialect(choice), endpoint(choice));
    let key = ShapeKey::new([3; 16]);
    let Ok(request) = parse(dialect, endpoint, body, &key) else { return };
    // The other parser stops at numbers that do not fit a double; its verdict on everything else counts.
    let reference = serde_json::from_slice::<serde_json::Value>(body);
    if let Err(error) = &reference {
        assert!(error.to_string().contains("number out of range") || error.to_string().contains("surrogate"));
        return;
    }
    assert_eq!(parse(dialect, endpoint, body, &key), Ok(request.clone()), "reading is repeatable");
    let Some(spliced) = with_include_usage(body, &request) else { return };
    let again = parse(dialect, endpoint, &spliced, &key).map(|again| (again.usage_splice, again.model));
    assert_eq!(again, Ok((None, request.model)));
    let mut want = reference.unwrap_or_default();
    if want["stream_options"].is_null() {
        want["stream_options"] = serde_json::json!({});
    }
    want["stream_options"]["include_usage"] = true.into();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&spliced).ok(), Some(want));
}

/// Answers as HTTP: however the bytes are cut, the same head, body, end and rest are read.
pub(crate) fn answer(data: &[u8]) {
    let (choice, rest) = choose(data);
    let (piece, wire) = choose(rest);
    let asked = Asked { is_head: choice & 3 == 3, is_upgrade: choice & 12 == 12 };
    let whole = read_answer(asked, [wire]);
    let pieces = read_answer(asked, wire.chunks(piece % 61 + 1));
    assert_eq!(whole, pieces);
    assert!(whole.is_none_or(|(_, body, _, rest)| body.len() + rest <= wire.len()));
}

/// Status, body, whether it ended, and bytes left over; `None` when it is garbage.
fn read_answer<'a>(
    asked: Asked,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Option<(Option<u16>, Vec<u8>, bool, usize)> {
    let (mut arrived, mut answer, mut body) = (BytesMut::new(), None, Vec::new());
    let mut ended = false;
    for piece in pieces {
        arrived.extend_from_slice(piece);
        if answer.is_none() {
            answer = take_head(&mut arrived, asked).ok()?;
        }
        let Some(answer) = &mut answer else { continue };
        loop {
            match answer.framing.take(&mut arrived).ok()? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::More => break,
                Step::End => {
                    ended = true;
                    break;
                }
            }
        }
    }
    // Before the head is whole nothing was taken but interim answers, which come again when it is read in one piece.
    let rest = if answer.is_some() { arrived.len() } else { 0 };
    Some((answer.map(|answer| answer.head.status().as_u16()), body, ended, rest))
}

/// Answers: however they are cut, the same is read and forwarded.
pub(crate) fn response_tap(data: &[u8]) {
    let (choice, rest) = choose(data);
    let (settings, rest) = choose(rest);
    let (piece, body) = choose(rest);
    let config = TapConfig {
        dialect: dialect(choice),
        endpoint: endpoint(choice),
        stream: settings & 1 == 0,
        strip_usage: settings & 2 == 0,
        encoding: [Encoding::Identity, Encoding::Identity, Encoding::Gzip, Encoding::Deflate]
            [settings >> 2 & 3],
        body_limit: [16, 64, 256, 65_536][settings >> 4 & 3],
        content: ShapeKey::new([3; 16]).content(),
    };
    let whole = pass(config, [body]);
    let pieces = pass(config, body.chunks(piece % 61 + 1));
    assert_eq!(whole, pieces);
    if !(config.stream && config.strip_usage) {
        assert_eq!(whole.0, body);
    }
    assert!(whole.0.len() <= body.len());
}

fn pass<'c>(config: TapConfig, chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<u8>, TapSummary) {
    let mut tap = Tap::new(config);
    let mut forwarded = Vec::new();
    let mut estimate = 0;
    for chunk in chunks {
        match tap.push(chunk) {
            Pass::All => forwarded.extend_from_slice(chunk),
            Pass::Bytes(bytes) => forwarded.extend_from_slice(&bytes),
        }
        let next = tap.estimate_so_far();
        assert!(!config.stream || next >= estimate, "what was written stays written");
        estimate = next;
        let _ = tap.cut(Cut::Budget, "");
    }
    let (tail, summary) = tap.finish();
    forwarded.extend_from_slice(&tail);
    (forwarded, summary)
}

/// Paths: what passes has nothing left to decode, and any has a route.
pub(crate) fn path(data: &[u8]) {
    let (choice, rest) = choose(data);
    let text = String::from_utf8_lossy(rest);
    if normalize(&text).is_ok() {
        assert!(
            text.starts_with('/')
                && text.is_ascii()
                && !text.contains("//")
                && !text.contains(['\\', '?', '#'])
        );
        assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
        assert!(!text.to_ascii_lowercase().contains("%2e") && !text.to_ascii_lowercase().contains("%2f"));
    }
    let method = ["GET", "POST", "DELETE", "HEAD", "PUT"][choice / 2 % 5];
    let found = route(dialect(choice), method, &text);
    assert!(found.endpoint == Endpoint::Other || text.starts_with("/v1/"));
    let _ = dialects_of(&text);
}

/// Clients: any headers give short fields.
pub(crate) fn client_headers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (agent, header) = text.split_once('\n').unwrap_or((&text, ""));
    let found = client(Some(agent), |name| (name.len() % 3 != 0).then_some(header));
    for field in [&found.family, &found.version, &found.runtime, &found.os] {
        assert!(field.len() <= FIELD_LEN_MAX && field.is_ascii());
    }
    let _ = accept_encoding(Some(&text));
}

/// Encodings: never more than the limit, and in pieces the same as whole.
pub(crate) fn encoding(data: &[u8]) {
    const LIMIT: usize = 4_096;
    let (choice, body) = choose(data);
    let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Deflate][choice % 3];
    let whole = decode(body, encoding, LIMIT);
    let mut out = Vec::new();
    let mut decoder = StreamDecoder::new(encoding, LIMIT as u64);
    let is_good = body
        .chunks(choice / 3 + 1)
        .all(|piece| decoder.push(piece, &mut |bytes| out.extend_from_slice(bytes)));
    let is_good = is_good && decoder.finish(&mut |bytes| out.extend_from_slice(bytes));
    if let Ok(whole) = whole {
        assert!(whole.len() <= LIMIT && is_good);
        assert_eq!(out, *whole);
    }
    assert!(encoding == Encoding::Identity || out.len() <= LIMIT);
}

/// Prices: nothing unknown is free, and costs add up.
pub(crate) fn price(data: &[u8]) {
    let (choice, rest) = choose(data);
    let text = String::from_utf8_lossy(rest);
    let provider = ["openai", "anthropic", "bedrock", "azure", "gemini", "unknown"][choice % 6];
    let (price, source) = PriceTable::bundled().find(provider, &text);
    assert!(source == PriceSource::Exact || !price.is_free());
    let tokens = rest.len() as u64 * 1_000;
    let usage = TokenUsage { input: tokens, output: tokens, ..TokenUsage::default() };
    assert!(cost(&usage, &price) <= worst_case(tokens, tokens, &price));
}

/// Credentials: any bytes are a key of ours or refused.
pub(crate) fn credential(data: &[u8]) {
    if let Ok(presented) = tokenwatch_model::credential::parse(data) {
        assert_eq!(data.len(), tokenwatch_model::credential::LEN);
        assert!(presented.key.to_string().starts_with("key_"));
    }
}

/// Lists of a provider: any bytes are a page or refused, a listing ends, and no id leads out of its command.
pub(crate) fn inventory(data: &[u8]) {
    let (choice, body) = choose(data);
    let dialect = dialect(choice);
    let kinds = inventory::kinds(dialect);
    let Some(kind) = kinds.get(choice / 2 % kinds.len()).copied() else { return };
    assert!(complaint(body).is_none_or(|text| text.chars().count() <= 120));
    let Ok(page) = read_page(kind, body) else { return };
    let mut listing = Listing::new(Timestamp::from_seconds(1_000), None);
    let ended = (0..=PAGES_MAX).any(|_| match listing.take(page.clone()) {
        Next::After(id) => {
            let target = inventory::question(dialect, kind, Some(&id)).target;
            assert!(target.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.:?&=".contains(&b)));
            false
        }
        Next::Whole | Next::Broken(_) => true,
    });
    assert!(ended, "a provider that repeats itself is not asked for ever");
    let found = listing.found();
    assert!(found.len() <= page.artifacts.len(), "each artifact once");
    for removal in found.iter().flat_map(|artifact| removals(dialect, artifact)) {
        assert!(removal.target.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.:".contains(&b)));
    }
}
