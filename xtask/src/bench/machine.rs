//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// A machine and its tools.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// Cores the bench may use.
    pub(super) cores: usize,
    /// Name of the processor.
    pub(super) model: String,
    /// Release of the kernel.
    pub(super) kernel: String,
    /// `rustc --version`.
    pub(super) rustc: String,
    /// `nginx -v`; empty when there is none.
    pub(super) nginx: String,
    /// Load of the last minute before the bench: above a tenth or so, figures are unquiet.
    pub(super) load: f64,
}

impl Machine {
    /// Looks at this machine.
    pub(super) fn fetch(cores: usize) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            cores,
            model: parse_model(&read("/proc/cpuinfo")).unwrap_or("unknown processor").to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: fetch_version("rustc", "--version"),
            nginx: fetch_version("nginx", "-v").replace("nginx version: ", ""),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

fn parse_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// The first line a program prints about its version, wherever it prints it.
fn fetch_version(program: &str, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return String::new() };
    let printed = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&printed).lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_read_from_the_first_processor() {
        assert_eq!(
            parse_model("processor\t: 0\nmodel name\t: AMD EPYC\n\nmodel name\t: x\n"),
            Some("AMD EPYC")
        );
        assert_eq!(parse_model(""), None);
    }
}
