//! The command line of `cargo xtask bench`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use super::goals::{REQUESTS_FULL, STREAMS_FULL};
use super::load::Times;
use super::parts::Part;
use super::traffic::Kind;

/// What `--help` prints.
pub(super) const USAGE: &str = "\
Measures the gateway with everything on against nginx, on this machine and loopback only.

Usage: cargo xtask bench gateway [options]

  --quick             two minutes instead of six: shorter measures, fewer rounds, streams and requests
  --rounds N          rounds, 1 to 20; targets take turns in each, the quietest is shown (5; quick: 3)
  --only PARTS        some of chat,one,scheduled,burst,paced,first,idle,streams,keys,growth
  --peers             measure LiteLLM and Portkey, too; they are installed once into the user's cache folder
                      (needs python3 with venv, and npm)
  --json FILE         write every round's figures to FILE
  --binary PATH       measure this tokenwatch instead of building it as `cargo xtask dist` does, which takes
                      two builds when the product has changed
  --plain             measure the build without a profile of the demo, which takes one
  --keep-running N    measure nothing: put tokenwatch under load for N seconds, for a profiler
  --load KIND         the load for --keep-running: chat, burst, paced or brief (chat)
  --connections N     connections of that load, 1 to 1000 (as many as its measure has)

Exits with 1 when a floor is missed or tokenwatch could not be measured.";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    /// Print the usage.
    Help,
    /// The bench.
    Gateway(Options),
    /// Hidden: serve as the mock.
    Mock { port: u16 },
    /// Hidden: become another program, pinned and tied to its parent.
    Launch { core: usize, command: Vec<String> },
}

/// Options of the bench.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) quick: bool,
    pub(super) rounds: usize,
    /// Parts that are wanted; empty for all.
    pub(super) only: Vec<Part>,
    pub(super) peers: bool,
    pub(super) json: Option<PathBuf>,
    pub(super) binary: Option<PathBuf>,
    /// Build without a profile of the demo.
    pub(super) plain: bool,
    pub(super) keep_running: Option<Duration>,
    pub(super) load: Kind,
    /// Connections of that load; `None` for as many as the measure of its kind has.
    pub(super) connections: Option<usize>,
}

impl Options {
    /// Whether a part is wanted.
    pub(super) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Times of a closed-loop measure. Short ones in many rounds: what disturbs the machine then disturbs some
    /// rounds, and leaves a quiet one to each target.
    pub(super) fn closed(&self) -> Times {
        self.times(700, 1_500)
    }

    /// Times of a measure at one connection, or by schedule.
    pub(super) fn latency(&self) -> Times {
        self.times(1_000, 2_500)
    }

    fn times(&self, quick_ms: u64, full_ms: u64) -> Times {
        let measured = Duration::from_millis(if self.quick { quick_ms } else { full_ms });
        Times { warm: Duration::from_millis(300), measured }
    }

    /// Paced streams, one after the other, on each connection.
    pub(super) const fn paced_each(&self) -> usize {
        if self.quick { 1 } else { 2 }
    }

    /// Streams that are held open at the same time.
    pub(super) const fn streams(&self) -> usize {
        if self.quick { STREAMS_FULL / 10 } else { STREAMS_FULL }
    }

    /// Requests after which memory is read again.
    pub(super) const fn requests(&self) -> u64 {
        if self.quick { REQUESTS_FULL / 10 } else { REQUESTS_FULL }
    }
}

/// Reads the arguments after `bench`.
///
/// # Errors
/// When one is unknown, lacks its value or is out of range.
pub(super) fn parse(arguments: &[String]) -> anyhow::Result<Command> {
    let Some((task, rest)) = arguments.split_first() else { return Ok(Command::Help) };
    match task.as_str() {
        "gateway" => parse_gateway(rest),
        "mock" => match rest {
            [flag, port] if flag == "--port" => Ok(Command::Mock { port: port.parse()? }),
            _ => bail!("usage: bench mock --port PORT"),
        },
        "launch" => match rest {
            [flag, core, dashes, command @ ..] if flag == "--core" && dashes == "--" => {
                Ok(Command::Launch { core: core.parse()?, command: command.to_vec() })
            }
            _ => bail!("usage: bench launch --core N -- PROGRAM ARGUMENTS"),
        },
        "--help" | "-h" | "help" => Ok(Command::Help),
        other => bail!("there is no bench `{other}`\n\n{USAGE}"),
    }
}

fn parse_gateway(arguments: &[String]) -> anyhow::Result<Command> {
    let mut options = Options {
        quick: false,
        rounds: 0,
        only: Vec::new(),
        peers: false,
        json: None,
        binary: None,
        plain: false,
        keep_running: None,
        load: Kind::Chat,
        connections: None,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--rounds" => options.rounds = parse_number(argument, value()?, 1, 20)?,
            "--only" => options.only = Part::parse_list(value()?)?,
            "--peers" => options.peers = true,
            "--json" => options.json = Some(value()?.into()),
            "--binary" => options.binary = Some(value()?.into()),
            "--plain" => options.plain = true,
            "--keep-running" => {
                let seconds = parse_number(argument, value()?, 1, 3_600)?;
                options.keep_running = Some(Duration::from_secs(seconds as u64));
            }
            "--load" => {
                options.load = match value()?.as_str() {
                    "chat" => Kind::Chat,
                    "burst" => Kind::Burst,
                    "paced" => Kind::Paced,
                    "brief" => Kind::Brief,
                    other => bail!("--load is chat, burst, paced or brief, not `{other}`"),
                }
            }
            "--connections" => options.connections = Some(parse_number(argument, value()?, 1, 1_000)?),
            "--help" | "-h" => return Ok(Command::Help),
            other => bail!("there is no option `{other}`\n\n{USAGE}"),
        }
    }
    if options.plain && options.binary.is_some() {
        bail!("--plain says how to build, and with --binary nothing is built: give one of them");
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 3 } else { 5 };
    }
    Ok(Command::Gateway(options))
}

fn parse_number(name: &str, text: &str, min: usize, max: usize) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => bail!("{name} must be a number from {min} to {max}, not `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> anyhow::Result<Command> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let Command::Gateway(options) =
            parse_line("gateway --rounds 5 --json a.json --binary b --keep-running 60 --load paced --peers")
                .unwrap()
        else {
            panic!("not the bench");
        };
        assert!(options.peers && options.wants(Part::Keys) && !options.plain);
        assert_eq!((options.quick, options.rounds), (false, 5));
        assert_eq!((options.json, options.binary), (Some("a.json".into()), Some("b".into())));
        assert_eq!((options.keep_running, options.load), (Some(Duration::from_secs(60)), Kind::Paced));
    }

    #[test]
    fn the_build_is_plain_when_asked_for() {
        let Command::Gateway(options) = parse_line("gateway --plain --quick").unwrap() else {
            panic!("not the bench");
        };
        assert!(options.plain && options.quick);
    }

    #[test]
    fn only_what_is_named_is_wanted() {
        let Command::Gateway(options) = parse_line("gateway --only chat,first").unwrap() else {
            panic!("not the bench");
        };
        assert!(options.wants(Part::Chat) && options.wants(Part::First) && !options.wants(Part::Paced));
    }

    #[test]
    fn a_quick_bench_has_fewer_rounds_unless_told_otherwise() {
        let rounds = |line| match parse_line(line).unwrap() {
            Command::Gateway(options) => options.rounds,
            other => panic!("{other:?}"),
        };
        assert_eq!(rounds("gateway"), 5);
        assert_eq!(rounds("gateway --quick"), 3);
        assert_eq!(rounds("gateway --rounds 2 --quick"), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("gatway", "`gatway`"),
            ("gateway --fast", "`--fast`"),
            ("gateway --rounds", "--rounds needs a value"),
            ("gateway --rounds 0", "1 to 20"),
            ("gateway --load tea", "`tea`"),
            ("gateway --only tea", "`tea`"),
            ("gateway --plain --binary b", "one of them"),
        ] {
            let error = parse_line(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn hidden_commands_are_read() {
        assert_eq!(parse_line("mock --port 9").unwrap(), Command::Mock { port: 9 });
        let command = vec!["ls".to_owned(), "-l".to_owned()];
        assert_eq!(parse_line("launch --core 1 -- ls -l").unwrap(), Command::Launch { core: 1, command });
        assert_eq!(parse_line("").unwrap(), Command::Help);
    }
}
