//! Child processes: pinned to a core, ended with the bench whatever happens, and their CPU time and memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit};

/// A running child. Dropping it ends it.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

/// What to start.
pub(super) struct Start<'a> {
    /// Core it is pinned to.
    pub(super) core: usize,
    /// Program and its arguments.
    pub(super) command: Vec<std::ffi::OsString>,
    /// Variables added to the environment.
    pub(super) environment: &'a [(&'a str, &'a str)],
    /// File for what it prints.
    pub(super) log: PathBuf,
}

impl Process {
    /// Starts a program, through `bench launch`, which prepares the process and becomes the program.
    ///
    /// # Errors
    /// When it can not be started.
    pub(super) fn start(start: Start<'_>) -> anyhow::Result<Self> {
        let log = File::create(&start.log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["bench", "launch", "--core", &start.core.to_string(), "--"])
            .args(&start.command)
            .envs(start.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("can not start {:?}", start.command.first()))?;
        Ok(Self { child, log: start.log })
    }

    /// The id, for people who want to look at it.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of its log when the process is no longer running.
    ///
    /// # Errors
    /// See above.
    pub(super) fn check_running(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("ended ({status}); it printed:\n{}", self.log_end());
        }
        Ok(())
    }

    /// The last lines it printed.
    pub(super) fn log_end(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
    }

    /// CPU time of all its threads so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        let folder = PathBuf::from(format!("/proc/{}", self.id()));
        let stat = fs::read_to_string(folder.join("stat")).context("the process is gone")?;
        let coarse = parse_stat(&stat, rustix::param::clock_ticks_per_second()).context("stat")?;
        Ok(CpuTimes { coarse, threads: read_threads(&folder.join("task")).unwrap_or_default() })
    }

    /// Resident memory in megabytes (10^6 bytes).
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn resident_mb(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).context("the process is gone")?;
        let kib = parse_resident(&status).context("no VmRSS in the process's status")?;
        Ok(kib as f64 * 1024.0 / 1e6)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process at one moment.
pub(super) struct CpuTimes {
    /// Of all threads, ended ones too, in steps of a clock tick (10 ms).
    coarse: Duration,
    /// Of each living thread, in nanoseconds. Empty where the kernel keeps no such account.
    threads: BTreeMap<u32, u64>,
}

impl CpuTimes {
    /// CPU time since `before`: exact unless a thread ended in between, else to the clock tick.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let is_whole =
            !self.threads.is_empty() && before.threads.keys().all(|id| self.threads.contains_key(id));
        if !is_whole {
            return self.coarse.saturating_sub(before.coarse);
        }
        let grown =
            |(id, now): (&u32, &u64)| now.saturating_sub(before.threads.get(id).copied().unwrap_or(0));
        Duration::from_nanos(self.threads.iter().map(grown).sum())
    }
}

fn read_threads(folder: &Path) -> anyhow::Result<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let id: u32 = entry.file_name().to_string_lossy().parse()?;
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        threads.insert(id, text.split(' ').next().context("schedstat")?.parse()?);
    }
    Ok(threads)
}

/// User and system time from `/proc/PID/stat`, see proc(5): fields 14 and 15, after the name in parentheses.
fn parse_stat(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs_f64((user + system) as f64 / ticks_per_second as f64))
}

/// Resident kibibytes from `/proc/PID/status`.
fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A port of the loopback address that nobody listens on.
///
/// # Errors
/// When there is none.
pub(super) fn find_free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Raises the limit on open files to `wanted`, as far as this process may, and returns what it is now.
/// Children inherit it.
pub(super) fn raise_open_files(wanted: u64) -> u64 {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let reached = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    if reached(now.current) >= wanted {
        return reached(now.current);
    }
    let maximum = now.maximum.map(|maximum| maximum.max(wanted));
    let all = Rlimit { current: Some(wanted), maximum };
    let allowed = Rlimit { current: Some(wanted.min(reached(now.maximum))), maximum: now.maximum };
    // Raising the hard limit takes a privilege; without it the hard limit is the best there is.
    if rustix::process::setrlimit(Resource::Nofile, all).is_err() {
        let _ = rustix::process::setrlimit(Resource::Nofile, allowed);
    }
    reached(rustix::process::getrlimit(Resource::Nofile).current)
}

/// Cores this process may run on.
///
/// # Errors
/// Where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn usable_cores() -> anyhow::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Keeps this thread, and the threads and processes it starts from now on, on one core.
///
/// # Errors
/// When the core may not be used.
#[cfg(target_os = "linux")]
pub(super) fn pin_to(core: usize) -> anyhow::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("core {core} may not be used"))
}

/// Becomes `command`, on one core, ended by the kernel when the parent ends.
///
/// # Errors
/// When the program can not be started; there is no return otherwise.
#[cfg(target_os = "linux")]
pub(super) fn launch(core: usize, command: &[String]) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let (program, arguments) = command.split_first().context("nothing to launch")?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    pin_to(core)?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("can not start {program}"))
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use anyhow::bail;

    const WHY: &str = "the bench reads /proc and pins processes to cores, so it runs on Linux only";

    pub(in super::super) fn usable_cores() -> anyhow::Result<Vec<usize>> {
        bail!(WHY)
    }

    pub(in super::super) fn pin_to(_core: usize) -> anyhow::Result<()> {
        bail!(WHY)
    }

    pub(in super::super) fn launch(_core: usize, _command: &[String]) -> anyhow::Result<()> {
        bail!(WHY)
    }
}
#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{launch, pin_to, usable_cores};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_after_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 6 7 20 0 3 0 100 200 300";
        assert_eq!(parse_stat(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("42 (cut off", 100), None);
    }

    #[test]
    fn resident_memory_is_read_in_kibibytes() {
        assert_eq!(parse_resident("VmHWM:\t  9 kB\nVmRSS:\t    5120 kB\nRssAnon:\t 1 kB\n"), Some(5_120));
        assert_eq!(parse_resident("Name:\tx\n"), None);
    }

    fn times(coarse_ms: u64, threads: &[(u32, u64)]) -> CpuTimes {
        CpuTimes { coarse: Duration::from_millis(coarse_ms), threads: threads.iter().copied().collect() }
    }

    #[test]
    fn threads_that_started_in_between_count_from_zero() {
        let after = times(999, &[(1, 500), (2, 70), (3, 8)]);
        assert_eq!(after.since(&times(0, &[(1, 400), (2, 70)])), Duration::from_nanos(108));
    }

    #[test]
    fn the_coarse_account_is_used_when_a_thread_ended_or_none_is_known() {
        assert_eq!(times(90, &[(1, 500)]).since(&times(20, &[(1, 1), (2, 1)])), Duration::from_millis(70));
        assert_eq!(times(90, &[]).since(&times(20, &[])), Duration::from_millis(70));
    }

    #[test]
    fn a_child_is_ended_when_dropped_and_its_log_is_kept_for_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let spawn = |script: &str| {
            let out = File::create(&log).unwrap();
            let mut command = Command::new("sh");
            let child = command.args(["-c", script]).stdout(out).spawn().unwrap();
            Process { child, log: log.clone() }
        };
        let process = spawn("exec sleep 600");
        let proc_folder = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(process.resident_mb().unwrap() >= 0.0);
        drop(process);
        assert!(!proc_folder.exists());

        let mut process = spawn("echo no such section; exit 3");
        process.child.wait().unwrap();
        let error = process.check_running().unwrap_err().to_string();
        assert!(error.contains("no such section") && error.contains('3'), "{error}");
    }
}
