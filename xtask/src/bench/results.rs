//! What was measured, round by round. Pure.

use serde::Serialize;

use super::goals::Figure;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Site {
    /// The mock itself.
    Direct,
    /// nginx in front of it.
    Nginx,
    /// TokenWatch in front of it.
    Tokenwatch,
    /// LiteLLM in front of it.
    Litellm,
    /// Portkey in front of it.
    Portkey,
}

impl Site {
    /// What stands beside one another in the table.
    pub(super) const COMPARED: [Self; 3] = [Self::Direct, Self::Nginx, Self::Tokenwatch];

    /// The column's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Tokenwatch => "tokenwatch",
            Self::Litellm => "litellm",
            Self::Portkey => "portkey",
        }
    }
}

/// A figure of one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    pub(super) round: usize,
    pub(super) site: Site,
    pub(super) figure: Figure,
    pub(super) value: f64,
}

/// A measure that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) site: Site,
    pub(super) measure: String,
    pub(super) reason: String,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Results {
    pub(super) samples: Vec<Sample>,
    pub(super) failures: Vec<Failure>,
    /// What a reader has to know about the figures.
    pub(super) notes: Vec<String>,
}

impl Results {
    /// Adds what a measure gave.
    pub(super) fn add(
        &mut self,
        round: usize,
        site: Site,
        measure: &str,
        result: anyhow::Result<Vec<(Figure, f64)>>,
    ) {
        match result {
            Ok(figures) => self.samples.extend(figures.into_iter().map(|(figure, value)| Sample {
                round,
                site,
                figure,
                value,
            })),
            Err(error) => {
                let reason = format!("{error:#}");
                self.failures.push(Failure { site, measure: measure.to_owned(), reason });
            }
        }
    }

    /// A figure of one round.
    fn of_round(&self, round: usize, site: Site, figure: Figure) -> Option<f64> {
        let is_it =
            |sample: &&Sample| sample.round == round && sample.site == site && sample.figure == figure;
        self.samples.iter().find(is_it).map(|sample| sample.value)
    }

    fn rounds(&self) -> usize {
        self.samples.iter().map(|sample| sample.round).max().unwrap_or(0)
    }

    /// The figure of the quietest round: what else runs on a machine only ever adds to a figure, so the least of all
    /// rounds is nearest to what the program itself takes.
    pub(super) fn quietest(&self, site: Site, figure: Figure) -> Option<f64> {
        let rounds = (1..=self.rounds()).filter_map(|round| self.of_round(round, site, figure));
        if figure.is_better_higher() { rounds.max_by(f64::total_cmp) } else { rounds.min_by(f64::total_cmp) }
    }

    /// The median of what `compare` makes of two sites' figures of the same round: a disturbance that lasts
    /// longer than a round counts on both sides, and one that does not is not in the middle.
    pub(super) fn median_of_pairs(
        &self,
        sites: [Site; 2],
        figure: Figure,
        compare: impl Fn(Option<f64>, Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        let [left, right] = sites;
        let of_round =
            |round| compare(self.of_round(round, left, figure), self.of_round(round, right, figure));
        median((1..=self.rounds()).filter_map(of_round).collect())
    }

    /// Whether anything at all was measured of a site.
    pub(super) fn has(&self, site: Site) -> bool {
        self.samples.iter().any(|sample| sample.site == site)
    }
}

/// The middle value; of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(middle.checked_sub(1)?).map(|lower| (lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_round_is_shown_and_the_median_is_of_pairs() {
        let mut results = Results::default();
        for (round, nginx, own) in [(1, 14.0, 21.0), (2, 13.0, 26.0), (3, 40.0, 56.0)] {
            results.add(round, Site::Nginx, "chat", Ok(vec![(Figure::ChatCpuUs, nginx)]));
            results.add(round, Site::Tokenwatch, "chat", Ok(vec![(Figure::ChatCpuUs, own)]));
        }
        results.add(1, Site::Tokenwatch, "chat", Err(anyhow::anyhow!("answered 403")));
        results.add(1, Site::Nginx, "chat", Ok(vec![(Figure::ChatPerSecond, 30.0)]));
        results.add(2, Site::Nginx, "chat", Ok(vec![(Figure::ChatPerSecond, 40.0)]));
        assert_eq!(results.quietest(Site::Nginx, Figure::ChatCpuUs), Some(13.0));
        assert_eq!(results.quietest(Site::Nginx, Figure::ChatPerSecond), Some(40.0));
        assert_eq!(results.quietest(Site::Tokenwatch, Figure::ChatPerSecond), None);
        let times = |own: Option<f64>, nginx: Option<f64>| Some(own? / nginx?);
        let sites = [Site::Tokenwatch, Site::Nginx];
        // Rounds: 1.5, 2.0, 1.4. The third was disturbed as a whole.
        assert_eq!(results.median_of_pairs(sites, Figure::ChatCpuUs, times), Some(1.5));
        assert_eq!(results.median_of_pairs([Site::Direct, Site::Nginx], Figure::ChatCpuUs, times), None);
        assert!(results.has(Site::Nginx) && !results.has(Site::Direct));
        assert_eq!(results.failures.len(), 1);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    }
}
