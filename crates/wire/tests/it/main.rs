//! Runs the fuzz targets on made-up inputs: seeds that reach deep, damaged at random, and plain noise.

#[cfg(test)]
mod targets;

#[cfg(test)]
mod smoke {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::targets;

    const CHAT: &[u8] = br#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false},"max_tokens":5,"messages":[{"role":"system","content":"You help."},{"role":"user","content":[{"type":"text","text":"order 4711\n\u00e9"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"tools":[{"type":"function","function":{"name":"f"}}],"temperature":0.5}"#;
    const BATCH: &[u8] = br#"{"requests":[{"custom_id":"1","params":{"model":"claude-opus-5","max_tokens":9,"messages":[{"role":"user","content":"x"}]}}]}"#;
    const STREAMS: [&[u8]; 4] = [
        include_bytes!("../fixtures/chat_stream.sse"),
        include_bytes!("../fixtures/messages_stream.sse"),
        include_bytes!("../fixtures/responses_stream.sse"),
        include_bytes!("../fixtures/run_stream.sse"),
    ];
    const ANSWERS: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nt: u\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\nhello",
    ];
    const LISTS: [&[u8]; 2] = [
        br#"{"object":"list","data":[{"id":"file-1","created_at":1772366400,"filename":"a"},{"id":"file-2","created_at":1772366300}],"has_more":true}"#,
        br#"{"data":[{"id":"msgbatch_1","created_at":"2026-03-01T12:00:00Z","processing_status":"ended"}],"has_more":false,"last_id":"msgbatch_1"}"#,
    ];
    const GZIP: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0x4c, 0x4a, 0x4e, 0x49, 4, 0, 0x11, 0xcd, 0x82, 0xed, 5, 0,
        0, 0,
    ];

    /// A seed with a few bytes changed, cut or doubled; before it up to three bytes of choices.
    fn damaged(seeds: Vec<&'static [u8]>) -> impl Strategy<Value = Vec<u8>> {
        let damage = prop::collection::vec((any::<Index>(), any::<u8>(), 0u8..4), 0..6);
        (prop::collection::vec(any::<u8>(), 0..4), prop::sample::select(seeds), damage).prop_map(
            |(choices, seed, damage)| {
                let mut data = seed.to_vec();
                for (at, with, kind) in damage {
                    let at = at.index(data.len().max(1));
                    match kind {
                        0 => data.truncate(at),
                        1 => data.insert(at.min(data.len()), with),
                        2 => data.extend_from_within(at.min(data.len())..),
                        _ => data.iter_mut().skip(at).take(1).for_each(|byte| *byte = with),
                    }
                }
                [choices, data].concat()
            },
        )
    }

    fn noise() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..300)
    }

    proptest! {
        #[test]
        fn request_parse(seed in damaged(vec![CHAT, BATCH]), noise in noise()) {
            targets::request_parse(&seed);
            targets::request_parse(&noise);
        }

        #[test]
        fn answer(seed in damaged(ANSWERS.to_vec()), noise in noise()) {
            targets::answer(&seed);
            targets::answer(&noise);
        }

        #[test]
        fn response_tap(seed in damaged(STREAMS.to_vec()), noise in noise()) {
            targets::response_tap(&seed);
            targets::response_tap(&noise);
        }

        #[test]
        fn path(seed in damaged(vec![b"/v1/chat/completions", b"/v1/models/a%20b", b"/v1/files/../x"]), noise in noise()) {
            targets::path(&seed);
            targets::path(&noise);
        }

        #[test]
        fn client(seed in damaged(vec![b"OpenAI/Python 1.52.0\nCPython", b"Mozilla/5.0 (X11; Linux) Chrome/1.2\nx"]), noise in noise()) {
            targets::client_headers(&seed);
            targets::client_headers(&noise);
        }

        #[test]
        fn encoding(seed in damaged(vec![GZIP, b"plain"]), noise in noise()) {
            targets::encoding(&seed);
            targets::encoding(&noise);
        }

        #[test]
        fn price(seed in damaged(vec![b"gpt-4o-2024-08-06", b"us.anthropic.claude-opus-5", b"ft:gpt-4o:x"]), noise in noise()) {
            targets::price(&seed);
            targets::price(&noise);
        }

        #[test]
        fn inventory(seed in damaged(LISTS.to_vec()), noise in noise()) {
            targets::inventory(&seed);
            targets::inventory(&noise);
        }

        #[test]
        fn credential(bits: u64, random: [u8; 32], noise in noise()) {
            let key = tokenwatch_model::id::KeyId::from_bits(bits);
            let (secret, _) = tokenwatch_model::credential::mint(key, &random);
            targets::credential(secret.expose().as_bytes());
            targets::credential(&noise);
        }
    }
}
