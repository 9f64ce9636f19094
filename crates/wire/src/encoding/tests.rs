//! Tests of `encoding`.

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn raw(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn check(body: &[u8], encoding: Encoding, limit: usize, want: Result<&[u8], DecodeError>) {
    assert_eq!(decode(body, encoding, limit).as_deref(), want.as_ref().map(|bytes| *bytes));
}

#[test]
fn bodies_are_decoded() {
    let text: &[u8] = br#"{"model":"gpt-4o"}"#;
    check(text, Encoding::Identity, 100, Ok(text));
    check(&gzip(text), Encoding::Gzip, 100, Ok(text));
    check(&zlib(text), Encoding::Deflate, 100, Ok(text));
    check(&raw(text), Encoding::Deflate, 100, Ok(text));
    check(&gzip(b""), Encoding::Gzip, 0, Ok(b""));
}

#[test]
fn the_limit_is_on_the_decompressed_size() {
    let too_large = Err(DecodeError::TooLarge { limit: 9 });
    check(&[b'a'; 10], Encoding::Identity, 9, too_large);
    check(&[b'a'; 10], Encoding::Identity, 10, Ok(&[b'a'; 10]));
    for (body, encoding) in [
        (gzip(&[b'a'; 10]), Encoding::Gzip),
        (zlib(&[b'a'; 10]), Encoding::Deflate),
        (raw(&[b'a'; 10]), Encoding::Deflate),
    ] {
        check(&body, encoding, 9, too_large);
        check(&body, encoding, 10, Ok(&[b'a'; 10]));
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let bomb = gzip(&vec![0; 50 << 20]);
    assert!(bomb.len() < 64 << 10);
    check(&bomb, Encoding::Gzip, 1 << 20, Err(DecodeError::TooLarge { limit: 1 << 20 }));
    let mut decoder = StreamDecoder::new(Encoding::Gzip, 1 << 20);
    let (mut total, mut largest) = (0, 0);
    let mut sink = |piece: &[u8]| {
        total += piece.len();
        largest = largest.max(piece.len());
    };
    assert!(!decoder.push(&bomb, &mut sink));
    assert!(!decoder.push(b"more", &mut sink));
    assert!(total <= 1 << 20 && largest <= 1 << 20, "{total} {largest}");
}

#[test]
fn lies_about_the_encoding_are_errors() {
    let text = br#"{"model":"gpt-4o"}"#;
    check(text, Encoding::Gzip, 100, Err(DecodeError::Corrupt));
    check(text, Encoding::Deflate, 100, Err(DecodeError::Corrupt));
    check(b"", Encoding::Gzip, 100, Err(DecodeError::Corrupt));
    check(b"", Encoding::Deflate, 100, Err(DecodeError::Corrupt));
    for (body, encoding) in [(gzip(text), Encoding::Gzip), (zlib(text), Encoding::Deflate)] {
        check(&body[..body.len() - 1], encoding, 100, Err(DecodeError::Corrupt));
        check(&body[..body.len() / 2], encoding, 100, Err(DecodeError::Corrupt));
        check(&[&body[..], b"x"].concat(), encoding, 100, Err(DecodeError::Trailing));
        check(&[&body[..], &body[..]].concat(), encoding, 100, Err(DecodeError::Trailing));
    }
    let mut damaged = gzip(text);
    let checksum = damaged.len() - 6;
    damaged[checksum] ^= 1;
    check(&damaged, Encoding::Gzip, 100, Err(DecodeError::Corrupt));
}

#[test]
fn only_encodings_we_read_are_accepted() {
    let check = |value: Option<&str>, want| assert_eq!(Encoding::from_header(value), want, "{value:?}");
    check(None, Ok(Encoding::Identity));
    check(Some(""), Ok(Encoding::Identity));
    check(Some("identity"), Ok(Encoding::Identity));
    check(Some(" GZIP "), Ok(Encoding::Gzip));
    check(Some("x-gzip"), Ok(Encoding::Gzip));
    check(Some("deflate"), Ok(Encoding::Deflate));
    for other in ["br", "zstd", "gzip, gzip", "gzip,br", "identity, gzip", "gzip;q=1", "gz\u{131}p"] {
        check(Some(other), Err(DecodeError::Unknown));
    }
}

#[test]
fn the_provider_is_asked_for_what_the_client_and_we_can_read() {
    let check = |client: Option<&str>, want| assert_eq!(accept_encoding(client), want, "{client:?}");
    check(None, "identity");
    check(Some(""), "identity");
    check(Some("gzip, deflate, br, zstd"), "gzip, deflate");
    check(Some("gzip, deflate"), "gzip, deflate");
    check(Some("br"), "identity");
    check(Some("gzip;q=0.5, br;q=1.0"), "gzip");
    check(Some("gzip;q=0, deflate"), "deflate");
    check(Some("gzip; q=0.000"), "identity");
    check(Some("*"), "gzip, deflate");
    check(Some("*, gzip;q=0"), "deflate");
    check(Some("*;q=0"), "identity");
    check(Some("identity"), "identity");
    check(Some("GZip"), "gzip");
    check(Some("gzip, gzip;q=banana"), "gzip");
}

fn decode_in_pieces(body: &[u8], encoding: Encoding, piece: usize) -> (Vec<u8>, bool) {
    let mut decoder = StreamDecoder::new(encoding, 1 << 20);
    let mut out = Vec::new();
    let mut is_good =
        body.chunks(piece).all(|chunk| decoder.push(chunk, &mut |bytes| out.extend_from_slice(bytes)));
    is_good &= decoder.finish(&mut |bytes| out.extend_from_slice(bytes));
    (out, is_good)
}

#[test]
fn what_is_cut_short_is_not_complete() {
    let body = gzip(b"some text that is long enough to be cut");
    assert_eq!(
        decode_in_pieces(&body, Encoding::Gzip, 7),
        (b"some text that is long enough to be cut".to_vec(), true)
    );
    let (_, is_good) = decode_in_pieces(&body[..body.len() - 9], Encoding::Gzip, 7);
    assert!(!is_good);
    assert!(!decode_in_pieces(b"not gzip", Encoding::Gzip, 3).1);
    assert!(!decode_in_pieces(b"x", Encoding::Deflate, 1).1);
}

#[test]
fn a_flushed_stream_is_decoded_at_once() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut decoder = StreamDecoder::new(Encoding::Gzip, 1 << 20);
    for event in ["data: one\n\n", "data: two\n\n"] {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let chunk = std::mem::take(encoder.get_mut());
        let mut out = Vec::new();
        assert!(decoder.push(&chunk, &mut |bytes| out.extend_from_slice(bytes)));
        assert_eq!(out, event.as_bytes());
    }
}

proptest! {
    #[test]
    fn any_split_decodes_the_same(data in prop::collection::vec(any::<u8>(), 0..2_000), piece in 1usize..700) {
        for (body, encoding) in
            [(gzip(&data), Encoding::Gzip), (zlib(&data), Encoding::Deflate), (data.clone(), Encoding::Identity)]
        {
            prop_assert_eq!(decode_in_pieces(&body, encoding, piece), (data.clone(), true));
        }
    }

    #[test]
    fn garbage_never_exceeds_the_limit(data in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            if let Ok(out) = decode(&data, encoding, 64) {
                prop_assert!(out.len() <= 64);
            }
            decode_in_pieces(&data, encoding, piece);
        }
    }
}
