//! Client software of a fleet's callers: releases, runtimes and builds, each with the TLS print it shows.
//!
//! The TLS print of software depends on its family, its runtime and the build (base image, TLS library). Build 0 is what
//! everybody gets who installs it today: a thief with the same SDK shows the same print.

use tokenwatch_model::client::Client;
use tokenwatch_model::provider::Dialect;

use crate::rng::{self, Rng};
use crate::software::{Family, Software};

/// Releases of the official SDKs, oldest first: OpenAI's and Anthropic's Python, then their TypeScript.
const RELEASES: [[&str; 4]; 12] = [
    ["1.82.1", "0.52.2", "5.0.1", "0.52.0"],
    ["1.86.0", "0.54.0", "5.3.0", "0.54.0"],
    ["1.93.0", "0.57.1", "5.8.2", "0.56.0"],
    ["1.99.9", "0.64.0", "5.12.2", "0.60.0"],
    ["1.107.2", "0.68.1", "5.20.3", "0.63.1"],
    ["1.109.1", "0.71.0", "5.23.2", "0.65.0"],
    ["2.2.0", "0.72.0", "6.1.0", "0.66.0"],
    ["2.6.1", "0.72.1", "6.7.0", "0.68.0"],
    ["2.8.1", "0.74.1", "6.9.1", "0.70.0"],
    ["2.9.0", "0.75.0", "6.10.0", "0.71.0"],
    ["2.11.0", "0.76.0", "6.14.0", "0.71.2"],
    ["2.14.0", "0.77.0", "6.16.0", "0.72.0"],
];

const PYTHONS: [&str; 3] = ["3.11.13", "3.12.11", "3.13.7"];
const NODES: [&str; 3] = ["v20.19.4", "v22.19.0", "v24.8.0"];
/// Builds that are in use when a fleet begins.
const BUILDS: u64 = 3;

/// One installation, with what a reader makes of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agent {
    pub(crate) software: Software,
    dialect: Dialect,
    build: u64,
    pub(crate) client: Client,
}

impl Agent {
    pub(crate) fn new(software: Software, dialect: Dialect, build: u64) -> Self {
        let mut client = software.client(dialect);
        if build > 0 {
            client.tls = rng::mix(client.tls ^ rng::mix(build));
        }
        Self { software, dialect, build, client }
    }

    /// An official SDK as some customer runs it.
    pub(crate) fn sdk(family: Family, dialect: Dialect, rng: &mut Rng) -> Self {
        let runtime = if family == Family::SdkPython { rng.pick(&PYTHONS) } else { rng.pick(&NODES) };
        let release = rng.range(2, 7) as usize;
        let version = version(family, dialect, release);
        let software = Software { family, version, runtime, os: "Linux", arch: "x64" };
        Self::new(software, dialect, if rng.chance(0.4) { 0 } else { rng.below(BUILDS) })
    }

    /// The same on another machine.
    pub(crate) fn on(&self, os: &'static str, arch: &'static str) -> Self {
        Self::new(self.software.on(os, arch), self.dialect, self.build)
    }

    /// The next release, in a new build if asked for. Other software gets a new build only.
    pub(crate) fn upgraded(&self, new_build: bool, rng: &mut Rng) -> Self {
        let place = column(self.software.family, self.dialect);
        let known = RELEASES.iter().position(|row| row[place] == self.software.version);
        let software = match known {
            // One release on, sometimes two.
            Some(release) => {
                let next = release + 1 + usize::from(rng.chance(0.3));
                Software { version: version(self.software.family, self.dialect, next), ..self.software }
            }
            None => self.software,
        };
        // Builds made later are like no build that was there.
        let build = if new_build { BUILDS + rng.below(1 << 40) } else { self.build };
        Self::new(software, self.dialect, build)
    }
}

const fn column(family: Family, dialect: Dialect) -> usize {
    match (family, dialect) {
        (Family::SdkPython, Dialect::OpenAi) => 0,
        (Family::SdkPython, Dialect::Anthropic) => 1,
        (_, Dialect::OpenAi) => 2,
        (_, Dialect::Anthropic) => 3,
    }
}

fn version(family: Family, dialect: Dialect, release: usize) -> &'static str {
    RELEASES[release.min(RELEASES.len() - 1)][column(family, dialect)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_change_the_version_and_the_print_when_asked() {
        let mut rng = Rng::new(2);
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            for family in [Family::SdkPython, Family::SdkTypeScript] {
                let agent = Agent::sdk(family, dialect, &mut rng);
                let same = agent.upgraded(false, &mut rng);
                assert_ne!(agent.client.version, same.client.version);
                assert_eq!((agent.client.tls, &agent.client.family), (same.client.tls, &same.client.family));
                assert_ne!(agent.upgraded(true, &mut rng).client.tls, agent.client.tls);
            }
        }
        let plain = Software::sdk(Family::SdkPython, Dialect::OpenAi, 0);
        assert_eq!(Agent::new(plain, Dialect::OpenAi, 0).client, plain.client(Dialect::OpenAi));
    }
}
