//! What a request asks the mock to do, from its `x-mock-` headers.

use std::time::Duration;

use hyper::HeaderMap;

/// Most pieces a stream may be asked for.
const CHUNKS_MAX: u64 = 10_000;
/// Longest pause that may be asked for, in milliseconds.
const PAUSE_MS_MAX: u64 = 600_000;
/// Longest ago that something may be created, in seconds: a year.
const AGE_S_MAX: u64 = 366 * 86_400;
/// Most bytes of headers that may be asked for.
const HUGE_MAX: u64 = 16 * 1024 * 1024;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) usage_on_last_choice: bool,
    pub(crate) no_usage: bool,
    pub(crate) tool_call: bool,
    pub(crate) error_mid_stream: bool,
    pub(crate) crlf: bool,
    pub(crate) joined: bool,
    pub(crate) split: bool,
    pub(crate) pings: bool,
    pub(crate) encoding: Option<Encoding>,
}

/// Content encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

/// How a request is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Reset,
    ResetAfter(usize),
    Garbage,
    Hang,
    HangAfter(usize),
    ShortBody,
    SlowHead(Duration),
    HugeHeaders(usize),
    Status { status: u16, retry_after: Option<u64> },
}

/// Everything a request asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
    pub(crate) chunks: Option<usize>,
    pub(crate) chunk_delay: Duration,
    pub(crate) delay: Duration,
    pub(crate) style: Style,
    pub(crate) failure: Option<Failure>,
    /// How long ago what is created was created, in seconds.
    pub(crate) age_s: u64,
}

impl Directives {
    /// Whether any `x-mock-` header is there.
    pub(crate) fn present(headers: &HeaderMap) -> bool {
        headers.keys().any(|name| name.as_str().starts_with("x-mock-"))
    }

    /// Reads the `x-mock-` headers; the error names the one that is not understood.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, String> {
        let mut directives = Self::default();
        for (name, value) in headers {
            let Some(directive) = name.as_str().strip_prefix("x-mock-") else { continue };
            let value = value.to_str().ok().map(str::trim);
            value
                .and_then(|value| directives.set(directive, value))
                .ok_or_else(|| format!("the mock provider does not understand the value of header {name}"))?;
        }
        Ok(directives)
    }

    fn set(&mut self, directive: &str, value: &str) -> Option<()> {
        let number = |max: u64| value.parse::<u64>().ok().filter(|&n| n <= max);
        match directive {
            "input-tokens" => self.input_tokens = Some(number(u64::MAX)?),
            "output-tokens" => self.output_tokens = Some(number(u64::MAX)?),
            "cached-tokens" => self.cached_tokens = Some(number(u64::MAX)?),
            "chunks" => self.chunks = Some(number(CHUNKS_MAX).filter(|&n| n > 0)? as usize),
            "chunk-delay-ms" => self.chunk_delay = Duration::from_millis(number(PAUSE_MS_MAX)?),
            "delay-ms" => self.delay = Duration::from_millis(number(PAUSE_MS_MAX)?),
            "style" => value.split(',').try_for_each(|word| self.style.set(word.trim()))?,
            "age-s" => self.age_s = number(AGE_S_MAX)?,
            "fail" => self.failure = Some(Failure::read(value)?),
            _ => return None,
        }
        Some(())
    }
}

impl Style {
    fn set(&mut self, word: &str) -> Option<()> {
        match word {
            "usage-on-last-choice" => self.usage_on_last_choice = true,
            "no-usage" => self.no_usage = true,
            "tool-call" => self.tool_call = true,
            "error-mid-stream" => self.error_mid_stream = true,
            "crlf" => self.crlf = true,
            "joined" => self.joined = true,
            "split" => self.split = true,
            "pings" => self.pings = true,
            "gzip" => self.encoding = Some(Encoding::Gzip),
            "deflate" => self.encoding = Some(Encoding::Deflate),
            _ => return None,
        }
        Some(())
    }
}

impl Failure {
    fn read(text: &str) -> Option<Self> {
        let (word, argument) = match text.split_once('=') {
            Some((word, argument)) => (word, Some(argument)),
            None => (text, None),
        };
        let number = |max: u64| argument?.parse::<u64>().ok().filter(|&n| n <= max);
        let plain = |failure| argument.is_none().then_some(failure);
        match word {
            "reset" => plain(Self::Reset),
            "reset-after" => Some(Self::ResetAfter(number(u32::MAX.into())? as usize)),
            "garbage" => plain(Self::Garbage),
            "hang" => plain(Self::Hang),
            "hang-after" => Some(Self::HangAfter(number(CHUNKS_MAX)? as usize)),
            "short-body" => plain(Self::ShortBody),
            "slow-head" => Some(Self::SlowHead(Duration::from_millis(number(PAUSE_MS_MAX)?))),
            "huge-headers" => Some(Self::HugeHeaders(number(HUGE_MAX)? as usize)),
            "429" => {
                let retry_after = argument.map(|_| number(u64::MAX).ok_or(())).transpose().ok()?;
                Some(Self::Status { status: 429, retry_after: retry_after.or(Some(1)) })
            }
            "401" => plain(Self::Status { status: 401, retry_after: None }),
            "403" => plain(Self::Status { status: 403, retry_after: None }),
            "500" => plain(Self::Status { status: 500, retry_after: None }),
            "503" => plain(Self::Status { status: 503, retry_after: None }),
            "529" => plain(Self::Status { status: 529, retry_after: None }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: (&'static str, &'static str), want: Option<Directives>) {
        let mut headers = HeaderMap::new();
        headers.insert(header.0, header.1.parse().unwrap());
        headers.insert("user-agent", "x".parse().unwrap());
        assert_eq!(Directives::read(&headers).ok(), want, "{header:?}");
    }

    #[test]
    fn directives_are_read_or_refused() {
        let failing = |failure| Some(Directives { failure: Some(failure), ..Directives::default() });
        check(("x-mock-fail", "reset"), failing(Failure::Reset));
        check(("x-mock-fail", "reset-after=12"), failing(Failure::ResetAfter(12)));
        check(("x-mock-fail", "429"), failing(Failure::Status { status: 429, retry_after: Some(1) }));
        check(("x-mock-fail", "429=30"), failing(Failure::Status { status: 429, retry_after: Some(30) }));
        check(("x-mock-fail", "429=x"), None);
        check(("x-mock-fail", "reset=1"), None);
        check(("x-mock-fail", "hang-after"), None);
        check(("x-mock-style", "gzip, zip"), None);
        check(("x-mock-chunks", "0"), None);
        check(("x-mock-chunks", "10001"), None);
        check(("x-mock-sytle", "gzip"), None);
        let style = Style { crlf: true, encoding: Some(Encoding::Deflate), ..Style::default() };
        check(("x-mock-style", "crlf, deflate"), Some(Directives { style, ..Directives::default() }));
    }
}
