//! Logs: one line per thing worth telling, on standard error, as text for people or JSON for machines.
//!
//! # Levels
//!
//! | level | means | examples |
//! | --- | --- | --- |
//! | `error` | somebody must act, or data was lost | rejected configuration, dropped records, panics, no provider credential |
//! | `warn` | working, and somebody should know | findings, containments, an open circuit breaker, a slow disk |
//! | `info` | the state changed as intended | start, stop, reload, notices, incidents closed |
//! | `debug` | one line per request | how it ended, what it cost |
//! | `trace` | steps inside a request | stream frames by size |
//!
//! The default is `info`. A filter such as `info,tokenwatch_gateway=debug` sets levels by module.
//!
//! # A good line
//!
//! Readable alone; a constant message; fields with dots (`request.id`) and the unit last (`duration_us`).
//! What happens per request is `debug`, or goes through [`crate::flood::RateLimited`]. An error is logged
//! once, where it is handled. Text that callers chose (model names, user agents, paths) is logged with `?`,
//! quoted and escaped, so that it can not forge a line.
//!
//! # Never logged
//!
//! * credentials of any kind: virtual keys, provider keys, tokens, cookies, `Authorization`, `x-api-key`,
//!   `api-key` and `x-goog-api-key` headers, also not in part; ids of keys (`key_…`) are fine
//! * prompts, completions, tool arguments and results, file contents, embeddings
//! * bodies of requests and answers, whole or in part, also not when they could not be parsed
//! * query strings: some clients send their key there
//! * header values other than those named safe in the code that logs them
//! * messages of panics, which may hold any of the above: the place alone
//! * hashes of credentials, and the secret that hashes of prompts are keyed with

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::metrics::Metrics;
use crate::told::PanicCaught;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Format {
    /// The inverse of the word in configuration: `text` or `json`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitLogsError {
    /// The filter can not be read.
    #[error(
        "log filter {filter:?} can not be read; write a level such as info, or info,tokenwatch_gateway=debug"
    )]
    Filter {
        /// What it says.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Sets up logging for the process, on standard error: standard output is for data. Once, at start.
///
/// # Errors
///
/// When the filter can not be read, or logging was set up before.
pub fn init(format: Format, filter: &str) -> Result<(), InitLogsError> {
    let is_coloured = std::io::stderr().is_terminal();
    build(format, filter, is_coloured, std::io::stderr)?.try_init().map_err(|_| InitLogsError::AlreadySet)
}

/// What [`init`] sets up, for any writer.
fn build<W>(
    format: Format,
    filter: &str,
    is_coloured: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, InitLogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| InitLogsError::Filter { filter: filter.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        // `with_ansi(true)` would override NO_COLOR, which the library reads itself.
        Format::Text if is_coloured => Box::new(lines.finish()),
        Format::Text => Box::new(lines.with_ansi(false).finish()),
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

/// Makes every panic counted and logged by its place, instead of printed with its message.
pub fn install_panic_hook(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |info| PanicCaught { place: &place_of(info) }.emit(&metrics)));
}

fn place_of(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "unknown".to_owned(), |at| format!("{}:{}", at.file(), at.line()))
}

#[cfg(test)]
pub(crate) mod tests;
