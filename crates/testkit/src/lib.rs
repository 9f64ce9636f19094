//! For tests, benches and the demo: a mock provider, real traffic samples, thefts.
