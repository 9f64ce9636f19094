//! Work on many keys by several threads. The results come in the order of the keys, whatever the threads did.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Threads to work with, and the bar that shows how far they are.
pub(super) struct Crew {
    threads: usize,
    bar: ProgressBar,
}

impl Crew {
    /// `threads`, or one per processor.
    pub(super) fn new(threads: Option<u16>) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        // Drawn on standard error, and only when that is a terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left") {
            bar.set_style(style);
        }
        Self { threads: threads.map_or(processors, usize::from), bar }
    }

    /// Does `work` for each key.
    pub(super) fn map<T: Send>(
        &self,
        what: &'static str,
        keys: &[usize],
        work: impl Fn(usize) -> T + Sync,
    ) -> anyhow::Result<Vec<T>> {
        self.bar.reset();
        self.bar.set_message(what);
        self.bar.set_length(keys.len() as u64);
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(keys.len()));
        thread::scope(|scope| {
            for _ in 0..self.threads.min(keys.len()) {
                scope.spawn(|| {
                    while let Some((place, key)) = take(&next, keys) {
                        let result = work(key);
                        if let Ok(mut done) = done.lock() {
                            done.push((place, result));
                        }
                        self.bar.inc(1);
                    }
                });
            }
        });
        self.bar.finish_and_clear();
        let mut done = done.into_inner().ok().context("a thread of the evaluation ended with a panic")?;
        done.sort_by_key(|(place, _)| *place);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }
}

/// A bar over the bytes of files; without an end when one of them is a stream.
pub(super) fn bytes_bar(paths: &[PathBuf]) -> ProgressBar {
    let sizes: Option<Vec<u64>> = paths.iter().map(|path| file_size(path)).collect();
    let bar =
        ProgressBar::with_draw_target(sizes.map(|sizes| sizes.iter().sum()), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("reading {wide_bar} {bytes}/{total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

fn take(next: &AtomicUsize, keys: &[usize]) -> Option<(usize, usize)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    keys.get(place).map(|&key| (place, key))
}

/// Processor time of the calling thread in nanoseconds.
pub(super) fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_keys() {
        let keys: Vec<usize> = (0..100).rev().collect();
        let doubled = |threads| Crew::new(Some(threads)).map("doubling", &keys, |key| key * 2).unwrap();
        assert_eq!(doubled(1), keys.iter().map(|key| key * 2).collect::<Vec<_>>());
        assert_eq!(doubled(7), doubled(1));
    }
}
