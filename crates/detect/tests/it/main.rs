//! Scenarios against the public API: simulated owners, thieves of the documented kinds, hostile input.

mod benign;
mod classic;
mod content;
mod drift;
mod hostile;
mod inside;
mod invariants;
mod newcomers;
mod prowlers;
mod rates;
mod reasons;
mod rules;
mod siblings;
mod story;
mod thefts;
mod thieves;
mod time;
mod volume;
mod world;
