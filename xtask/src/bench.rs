//! `cargo xtask bench gateway`: the gateway with everything on against nginx and against no proxy at all, as
//! real processes on the loopback address. See `bench --help`.
//!
//! The mock and the load generator share one core, each proxy in turn has another one to itself. Ratios
//! between targets of one run hold from machine to machine; absolute figures do not.

mod build;
mod client;
mod goals;
mod histogram;
mod load;
mod machine;
mod mock;
mod nginx;
mod options;
mod parts;
mod peers;
mod process;
mod product;
mod report;
mod results;
mod suite;
mod traffic;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use build::Built;
use goals::{Figure, STREAMS_FULL};
use machine::Machine;
use options::{Command, Options};
use parts::Part;
use peers::Peer;
use process::Process;
use product::Product;
use report::Report;
use results::{Results, Site};
use suite::{KEYS, NGINX_CONNECTIONS, Place, Running};

/// Runs `cargo xtask bench` with the arguments after it.
///
/// # Errors
/// When an argument is wrong, a floor is missed, TokenWatch could not be measured, or the machine does not
/// allow the measure; the message is for the person at the terminal.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    match options::parse(arguments)? {
        Command::Help => Ok(writeln!(std::io::stdout(), "{}", options::USAGE)?),
        Command::Mock { port } => runtime()?.block_on(mock::serve(port)),
        Command::Launch { core, command } => process::launch(core, &command),
        Command::Gateway(_) if cfg!(debug_assertions) => build::run_optimised(arguments),
        Command::Gateway(options) => bench_gateway(&options),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn bench_gateway(options: &Options) -> anyhow::Result<()> {
    let cores = process::usable_cores()?;
    let [load_core, proxy_core, ..] = *cores.as_slice() else {
        bail!("the bench needs two cores: one for the load, one for the proxy");
    };
    let built = build::build_product(options, say)?;
    let machine = Machine::fetch(cores.len());
    process::pin_to(load_core)?;
    // Beside the executable, because the folder for temporary files is often memory, where syncing is free.
    let exe = std::env::current_exe()?;
    let folder = tempfile::Builder::new()
        .prefix("tokenwatch-bench-")
        .tempdir_in(exe.parent().context("an executable without a folder")?)?;
    runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let bench = Bench { options, machine: &machine, built: &built, folder: folder.path() };
        // Whichever ends first: dropping the bench ends every child.
        tokio::select! {
            result = Box::pin(bench.run(load_core, proxy_core)) => result,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })
}

/// One run of the bench.
struct Bench<'a> {
    options: &'a Options,
    machine: &'a Machine,
    built: &'a Built,
    folder: &'a Path,
}

impl Bench<'_> {
    async fn run(&self, load_core: usize, proxy_core: usize) -> anyhow::Result<()> {
        let streams = streams_for(self.options.streams(), process::raise_open_files(FILES));
        let (place, _mock) = Place::start_mock(self.folder.to_owned(), load_core, proxy_core).await?;
        if let Some(how_long) = self.options.keep_running {
            return self.keep_running(&place, how_long).await;
        }
        let mut results = Results::default();
        results.notes.extend(self.built.note.clone());
        let has_nginx = !self.machine.nginx.is_empty();
        if !has_nginx {
            results.notes.push(nginx::INSTALL.to_owned());
        }
        let product = self.prepare_product(&mut results);
        self.measure_rounds(&place, has_nginx, product.as_ref(), &mut results).await?;
        if streams < self.options.streams() {
            let wanted = self.options.streams();
            results.notes.push(format!(
                "{streams} streams were opened instead of {wanted}, held to their share of the bounds: {FILES} \
                 open files are needed for all; see `ulimit -n`"
            ));
        }
        if streams > 0 && self.options.wants(Part::Streams) {
            self.measure_streams(&place, has_nginx, product.as_ref(), streams, &mut results).await;
        }
        if product.is_some() && self.options.wants(Part::Keys) {
            say("100,000 keys");
            let result = suite::measure_many_keys(&place, &self.built.binary).await;
            results.add(1, Site::Tokenwatch, Part::Keys.name(), result);
        }
        if let Some(product) = product.as_ref().filter(|_| self.options.wants(Part::Growth)) {
            self.measure_growth(&place, product, &mut results).await;
        }
        if let Some(product) = product.as_ref().filter(|_| self.options.peers) {
            self.measure_peers(&place, product, &mut results).await;
        }
        self.conclude(&results, streams)
    }

    /// A state folder with keys; without one there is no column for TokenWatch.
    fn prepare_product(&self, results: &mut Results) -> Option<Product> {
        say("issuing keys");
        match Product::prepare(&self.built.binary, self.folder.join("state"), KEYS, 0) {
            Ok(product) => Some(product),
            Err(error) => {
                let binary = self.built.binary.display();
                results.notes.push(format!("tokenwatch was skipped: {binary} can not issue keys: {error:#}"));
                None
            }
        }
    }

    async fn measure_rounds(
        &self,
        place: &Place,
        has_nginx: bool,
        product: Option<&Product>,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        let mut sites = vec![place.direct()];
        if has_nginx {
            sites.push(place.start_nginx("nginx", NGINX_CONNECTIONS).await?);
        }
        if let Some(product) = product {
            match place.start_product(product).await {
                Ok((running, _)) => sites.push(running),
                Err(error) => results.add(1, Site::Tokenwatch, "start", Err(error)),
            }
        }
        let idle = sites.iter().filter(|running| running.process.is_some());
        for running in idle.filter(|_| self.options.wants(Part::Idle)) {
            let result = suite::measure_idle(running, Figure::IdleMb).await;
            results.add(1, running.site, Part::Idle.name(), result);
        }
        suite::run_rounds(&sites, self.options, results, &mut say).await;
        Ok(())
    }

    async fn measure_streams(
        &self,
        place: &Place,
        has_nginx: bool,
        product: Option<&Product>,
        streams: usize,
        results: &mut Results,
    ) {
        if has_nginx {
            let started = place.start_nginx("nginx-streams", nginx_room(streams)).await;
            measure_streams_of(Site::Nginx, started, streams, results).await;
        }
        if let Some(product) = product {
            let started = place.start_product(product).await.map(|(running, _)| running);
            measure_streams_of(Site::Tokenwatch, started, streams, results).await;
        }
    }

    async fn measure_growth(&self, place: &Place, product: &Product, results: &mut Results) {
        let requests = self.options.requests();
        say(&format!("{requests} requests"));
        let result = match place.start_product(product).await {
            Ok((running, _)) => suite::measure_growth(&running, requests).await,
            Err(error) => Err(error),
        };
        results.add(1, Site::Tokenwatch, Part::Growth.name(), result);
    }

    async fn measure_peers(&self, place: &Place, product: &Product, results: &mut Results) {
        let mut sites = Vec::new();
        match place.start_product(product).await {
            Ok((running, _)) => sites.push(running),
            Err(error) => results.add(1, Site::Tokenwatch, "peers", Err(error)),
        }
        for peer in Peer::ALL {
            say(&format!("{}: installing, starting", peer.label()));
            match place.start_peer(peer).await {
                Ok(running) => sites.push(running),
                Err(error) => results.add(1, peer.site(), "peers", Err(error)),
            }
        }
        say("peers");
        suite::run_peers(&sites, results).await;
    }

    async fn keep_running(&self, place: &Place, how_long: std::time::Duration) -> anyhow::Result<()> {
        let product = Product::prepare(&self.built.binary, self.folder.join("state"), KEYS, 0)?;
        let (running, _) = place.start_product(&product).await?;
        let id = running.process.as_ref().map_or(0, Process::id);
        let seconds = how_long.as_secs();
        say(&format!(
            "tokenwatch is process {id}, under load for {seconds} s; for example: perf record -g -p {id}"
        ));
        let Options { load, connections, .. } = *self.options;
        let took = suite::run_for_profiler(&running, load, connections, how_long).await?;
        Ok(writeln!(std::io::stdout(), "{took}")?)
    }

    /// Prints the table, writes the file, and gives the verdict.
    fn conclude(&self, results: &Results, streams: usize) -> anyhow::Result<()> {
        let Self { machine, options, .. } = *self;
        let report = Report { machine, how_built: self.built.how, results, options, streams };
        writeln!(std::io::stdout(), "{}", report.render())?;
        if let Some(path) = &self.options.json {
            let text = serde_json::to_string_pretty(&report.to_json())?;
            std::fs::write(path, text + "\n").with_context(|| format!("can not write {}", path.display()))?;
        }
        if let Some(failure) = results.failures.iter().find(|failure| failure.site == Site::Tokenwatch) {
            bail!("tokenwatch could not be measured: {}: {}", failure.measure, failure.reason);
        }
        if !results.has(Site::Tokenwatch) {
            bail!("tokenwatch was not measured; the note below the table says why");
        }
        let missed = report.floors_missed();
        if !missed.is_empty() {
            bail!("below the floor: {}", missed.join("; "));
        }
        Ok(())
    }
}

async fn measure_streams_of(
    site: Site,
    started: anyhow::Result<Running>,
    streams: usize,
    results: &mut Results,
) {
    let name = format!("{streams} open streams");
    say(&format!("{name}, {}", site.name()));
    let result = match started {
        Ok(running) => suite::measure_streams(&running, streams).await,
        Err(error) => Err(error),
    };
    results.add(1, site, &name, result);
}

/// Connections of an nginx that holds streams: two for each, and enough to spare that it does not close
/// waiting ones to make room, which it does when a sixteenth is left.
const fn nginx_room(streams: usize) -> usize {
    3 * streams + NGINX_CONNECTIONS
}

/// Open files a proxy needs besides those of its streams.
const FILES_SPARE: u64 = 500;
/// Open files of a proxy with all streams: two for each.
const FILES: u64 = 2 * STREAMS_FULL as u64 + FILES_SPARE;

/// As many of the streams that are `wanted` as `files` open files allow.
fn streams_for(wanted: usize, files: u64) -> usize {
    let allowed = files.saturating_sub(FILES_SPARE) / 2;
    wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX))
}

/// Tells the person at the terminal what is going on.
fn say(text: &str) {
    // Nobody listening is no reason to stop.
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_streams_are_opened_than_files_allow() {
        assert_eq!(streams_for(STREAMS_FULL, FILES), STREAMS_FULL);
        assert_eq!(streams_for(STREAMS_FULL, 20_000), 9_750);
        assert_eq!(streams_for(1_000, 20_000), 1_000);
        assert_eq!(streams_for(1_000, 256), 0);
    }
}
