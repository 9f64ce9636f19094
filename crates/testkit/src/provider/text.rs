//! What the mock model says: meaningless, deterministic, and about four bytes a token.

/// Most bytes of text in one answer, however many tokens are dictated.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// ASCII without quotes and backslashes, so that it stands in JSON as it is.
const PHRASE: &str = "The mock model answers in plain words. It counts what it was told to count, \
                      repeats itself when more is wanted, and never knows anything. ";

/// About four bytes for each output token.
pub(crate) fn text(output_tokens: u64) -> String {
    let bytes = usize::try_from(output_tokens).unwrap_or(usize::MAX).saturating_mul(4).min(TEXT_BYTES_MAX);
    let mut text = PHRASE.repeat(bytes.div_ceil(PHRASE.len()));
    text.truncate(bytes);
    text
}

/// How many pieces a stream of so many tokens has when nothing is dictated.
pub(crate) fn default_pieces(output_tokens: u64) -> usize {
    (output_tokens / 4).clamp(1, 32) as usize
}

/// Cuts ASCII text into exactly `count` pieces of about the same size; some are empty when there is too little.
pub(crate) fn cut(text: &str, count: usize) -> impl Iterator<Item = &str> {
    let bound = move |index: usize| text.len() * index / count.max(1);
    (0..count.max(1)).map(move |index| text.get(bound(index)..bound(index + 1)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        for (tokens, count) in [(0, 1), (1, 7), (100, 3), (1_000_000, 50)] {
            let whole = text(tokens);
            let pieces: Vec<_> = cut(&whole, count).collect();
            assert_eq!(pieces.len(), count);
            assert_eq!(pieces.concat(), whole);
        }
        assert_eq!(text(10).len(), 40);
        assert_eq!(text(u64::MAX).len(), TEXT_BYTES_MAX);
        assert!(!PHRASE.contains(['"', '\\']) && PHRASE.is_ascii());
    }
}
