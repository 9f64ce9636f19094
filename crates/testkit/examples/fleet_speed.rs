//! How fast a fleet's events are made: `cargo run --release -p tokenwatch-testkit --example fleet_speed -- [KEYS]`.
//!
//! Prints one JSON object: keys, events, seconds for making the fleet and for all of its events, events a second.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use tokenwatch_testkit::fleet::{Fleet, FleetOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let keys_max: usize = std::env::args().nth(1).map_or(Ok(usize::MAX), |text| text.parse())?;
    let started = Instant::now();
    let fleet = Fleet::new(1, &FleetOptions::default())?;
    let made = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let (mut keys, mut events, mut spent) = (0_u64, 0_u64, 0_u64);
    for key in fleet.keys().iter().take(keys_max) {
        keys += 1;
        for event in key.events(0, 11) {
            events += 1;
            spent += event.cost.0;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = events as f64 / seconds;
    writeln!(
        std::io::stdout(),
        "{{\"keys\":{keys},\"events\":{events},\"dollars\":{:.0},\"fleet_s\":{made:.2},\"events_s\":{seconds:.2},\"events_per_s\":{rate:.0}}}",
        spent as f64 / 1e9
    )?;
    Ok(())
}
