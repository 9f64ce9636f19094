//! Clients of somebody else's, from tables of requests in ten minutes and token sizes in six hours.
//!
//! Invariant: what lies outside the days that are used is counted, never silently dropped.

use std::collections::BTreeMap;

use super::{
    Client, LEVELS, Law, Quarter, Quarters, ReadClientsError, WINDOWS, WINDOWS_A_QUARTER, read_tokens,
    with_sizes,
};

/// Seconds of a window.
const WINDOW_S: u64 = 600;
/// Most requests of a window: beyond it a single-precision count is no longer exact.
const REQUESTS_MAX: f64 = 16_777_216.0;
/// Most tokens of a request.
const TOKENS_MAX: f64 = 1e9;
/// What a spread is cut to: the published clients are well within.
const SPREADS: (f64, f64) = (0.01, 1_000.0);

/// Why a row was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not a count.
    #[error("requests: write a number from 0 to 16777216")]
    Requests,
    /// Not a coefficient of variation.
    #[error(
        "cv: write the coefficient of variation of the gaps between requests, a number above 0, or nothing"
    )]
    Spread,
    /// A law needs two points.
    #[error("quantiles: write at least two, in columns such as q05, q50, q99_9, q100")]
    Quantiles,
    /// A law never falls.
    #[error("quantiles: they must not fall from one to the next, and lie between 0 and a billion tokens")]
    Order,
    /// Two rows say different things of one time.
    #[error(
        "t: the client has another row for the same time; times are starts of ten minutes, or of six hours for sizes"
    )]
    Twice,
}

/// Which tokens a law is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeField {
    /// Of the request.
    Input,
    /// Of the answer.
    Output,
}

/// Tables in the making.
#[derive(Clone, Debug, Default)]
pub struct ClientTables {
    from_s: u64,
    clients: BTreeMap<String, Client>,
    laws: BTreeMap<String, Quarters>,
    outside: u64,
}

impl ClientTables {
    /// Tables of which the eleven days from `from_day` on are used.
    pub fn new(from_day: u32) -> Self {
        Self { from_s: u64::from(from_day) * 86_400, ..Self::default() }
    }

    /// The window of `size` windows of ten minutes that a time is in, if it is used.
    fn window(&mut self, t_s: u64, size: usize) -> Option<usize> {
        let window = t_s.checked_sub(self.from_s).map(|t_s| (t_s / WINDOW_S) as usize);
        let used = window.filter(|&window| window < WINDOWS).map(|window| window / size);
        self.outside += u64::from(used.is_none());
        used
    }

    /// Adds the requests of a client in the ten minutes from `t_s` (seconds since midnight of day 0) on, and how uneven
    /// the gaps between them were: 1 is Poisson's.
    ///
    /// # Errors
    ///
    /// When a number is out of bounds or the time has a row already.
    pub fn add_requests(
        &mut self,
        client: &str,
        t_s: u64,
        requests: f64,
        spread: Option<f64>,
    ) -> Result<(), RowError> {
        if !(0.0..=REQUESTS_MAX).contains(&requests) {
            return Err(RowError::Requests);
        }
        if spread.is_some_and(|spread| !(spread > 0.0 && spread.is_finite())) {
            return Err(RowError::Spread);
        }
        let Some(window) = self.window(t_s, 1) else { return Ok(()) };
        let client = self.clients.entry(client.to_owned()).or_insert_with(|| Client {
            name: client.to_owned(),
            has_tokens: false,
            counts: vec![0.0; WINDOWS],
            spreads: vec![1.0; WINDOWS],
            sizes: Vec::new(),
        });
        let count = client.counts.get_mut(window).filter(|count| **count == 0.0).ok_or(RowError::Twice)?;
        *count = requests as f32;
        if let Some((place, spread)) = client.spreads.get_mut(window).zip(spread) {
            *place = spread.clamp(SPREADS.0, SPREADS.1) as f32;
        }
        Ok(())
    }

    /// Adds the token sizes of a client in the six hours from `t_s` on: `points` are levels from 0 to 1 with their tokens,
    /// rising; `requests` those of the six hours, windows that have no row included, if known.
    ///
    /// # Errors
    ///
    /// When the points are no law or the time has one already.
    pub fn add_sizes(
        &mut self,
        client: &str,
        t_s: u64,
        field: SizeField,
        requests: Option<f64>,
        points: &[(f64, f64)],
    ) -> Result<(), RowError> {
        if requests.is_some_and(|requests| !(0.0..=REQUESTS_MAX).contains(&requests)) {
            return Err(RowError::Requests);
        }
        let law = law(points)?;
        let Some(at) = self.window(t_s, WINDOWS_A_QUARTER) else { return Ok(()) };
        let quarters = self.laws.entry(client.to_owned()).or_default();
        let quarter = quarters.entry(at).or_insert(Quarter { n: 0.0, input: None, output: None });
        let place = match field {
            SizeField::Input => &mut quarter.input,
            SizeField::Output => &mut quarter.output,
        };
        if place.replace(law).is_some() {
            return Err(RowError::Twice);
        }
        quarter.n = quarter.n.max(requests.unwrap_or(0.0) as f32);
        Ok(())
    }

    /// Rows that lay outside the days that are used.
    pub const fn outside(&self) -> u64 {
        self.outside
    }

    /// The clients, by name. Those without sizes borrow: from a client of their own table whose name begins alike up to the
    /// first `/`, from any other of it, or from the bundled clients.
    ///
    /// # Errors
    ///
    /// When sizes must be borrowed from the bundled clients and those are damaged.
    pub fn finish(self) -> Result<Vec<Client>, ReadClientsError> {
        let Self { clients, mut laws, .. } = self;
        laws.retain(|name, quarters| super::is_whole(quarters) && clients.contains_key(name));
        let spare = if laws.is_empty() { read_tokens()? } else { BTreeMap::new() };
        with_sizes(clients.into_values().collect(), &laws, &spare)
    }
}

/// A law through some points, straight between them and level beyond.
fn law(points: &[(f64, f64)]) -> Result<Law, RowError> {
    if points.len() < 2 {
        return Err(RowError::Quantiles);
    }
    let is_sound = points
        .iter()
        .all(|(level, tokens)| (0.0..=1.0).contains(level) && (0.0..=TOKENS_MAX).contains(tokens));
    let rises = points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
    if !is_sound || !rises {
        return Err(RowError::Order);
    }
    let at = |level: f64| {
        let above = points.partition_point(|(of, _)| *of < level);
        match (above.checked_sub(1).and_then(|below| points.get(below)), points.get(above)) {
            (Some(low), Some(high)) => low.1 + (high.1 - low.1) * ((level - low.0) / (high.0 - low.0)),
            (None, Some(only)) | (Some(only), None) => only.1,
            (None, None) => 0.0,
        }
    };
    Ok(Law(LEVELS.map(|level| at(level) as f32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    #[test]
    fn the_days_from_a_day_on_are_used_and_the_rest_is_counted() {
        let mut tables = ClientTables::new(3);
        for day in 0..20 {
            tables.add_requests("a/1", day * DAY_S + 1_200, 20.0 + day as f64, Some(2.0)).unwrap();
        }
        assert_eq!(tables.outside(), 9);
        let clients = tables.finish().unwrap();
        let [client] = &clients[..] else { panic!("{clients:?}") };
        assert_eq!(client.window(2), (23.0, 2.0));
        assert_eq!(client.active_days().len(), 11);
        assert!(!client.has_tokens() && client.sizes(5).is_some(), "sizes are borrowed");
    }

    #[test]
    fn sizes_are_lent_among_clients_that_are_named_alike() {
        let mut tables = ClientTables::new(0);
        for name in ["a/1", "a/2", "b/1", "c"] {
            tables.add_requests(name, 600, 50.0, None).unwrap();
        }
        for (name, tokens) in [("a/1", 100.0), ("b/1", 1_000.0)] {
            for field in [SizeField::Input, SizeField::Output] {
                tables
                    .add_sizes(name, 0, field, Some(70.0), &[(0.05, tokens), (0.95, 2.0 * tokens)])
                    .unwrap();
            }
        }
        let clients = tables.finish().unwrap();
        let median = |name: &str| {
            let client = clients.iter().find(|client| client.name() == name).unwrap();
            (client.sizes(0).unwrap().input.at(0.5), client.has_tokens(), client.requests().round())
        };
        // Twenty of its requests are in no row.
        assert_eq!(median("a/1"), (150.0, true, 70.0));
        assert_eq!(median("a/2"), (150.0, false, 50.0));
        assert_eq!(median("b/1").0, 1_500.0);
        assert!([150.0, 1_500.0].contains(&median("c").0));
    }

    #[track_caller]
    fn check_refused(add: impl FnOnce(&mut ClientTables) -> Result<(), RowError>, expected: RowError) {
        let mut tables = ClientTables::new(0);
        tables.add_requests("a", 600, 1.0, None).unwrap();
        assert_eq!(add(&mut tables), Err(expected));
    }

    #[test]
    fn what_is_no_count_or_law_is_refused() {
        check_refused(|tables| tables.add_requests("a", 0, -1.0, None), RowError::Requests);
        check_refused(|tables| tables.add_requests("a", 0, f64::NAN, None), RowError::Requests);
        check_refused(|tables| tables.add_requests("a", 0, 1.0, Some(0.0)), RowError::Spread);
        check_refused(|tables| tables.add_requests("a", 660, 1.0, None), RowError::Twice);
        let sizes = |points: &'static [(f64, f64)]| {
            move |tables: &mut ClientTables| tables.add_sizes("a", 0, SizeField::Input, None, points)
        };
        check_refused(sizes(&[(0.5, 10.0)]), RowError::Quantiles);
        check_refused(sizes(&[(0.5, 10.0), (0.9, 9.0)]), RowError::Order);
        check_refused(sizes(&[(0.5, 10.0), (1.5, 20.0)]), RowError::Order);
        check_refused(
            |tables| {
                tables.add_sizes("a", 0, SizeField::Output, None, &[(0.0, 1.0), (1.0, 2.0)])?;
                tables.add_sizes("a", 3_600, SizeField::Output, None, &[(0.0, 1.0), (1.0, 2.0)])
            },
            RowError::Twice,
        );
    }
}
