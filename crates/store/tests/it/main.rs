//! The store from the outside: through its public interface, in several processes, killed and tampered with.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod archive;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod child;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod rotation;
#[cfg(test)]
#[path = "../../src/samples.rs"]
mod samples;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod state;
#[cfg(test)]
mod suppressions;
