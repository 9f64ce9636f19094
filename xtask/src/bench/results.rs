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
}

impl Site {
    /// Every site, in the order of the table.
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Nginx, Self::Tokenwatch];

    /// The column's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Tokenwatch => "tokenwatch",
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

    /// The best round's figure.
    pub(super) fn best(&self, site: Site, figure: Figure) -> Option<f64> {
        self.samples
            .iter()
            .filter(|sample| sample.site == site && sample.figure == figure)
            .map(|sample| sample.value)
            .reduce(|a, b| figure.better(a, b))
    }

    /// Whether anything at all was measured of a site.
    pub(super) fn has(&self, site: Site) -> bool {
        self.samples.iter().any(|sample| sample.site == site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_round_of_each_site_is_shown() {
        let mut results = Results::default();
        for (round, cpu, rate) in [(1, 14.0, 70e3), (2, 13.0, 60e3)] {
            let figures = vec![(Figure::ChatCpuUs, cpu), (Figure::ChatPerSecond, rate)];
            results.add(round, Site::Nginx, "chat", Ok(figures));
        }
        results.add(1, Site::Tokenwatch, "chat", Err(anyhow::anyhow!("answered 403")));
        assert_eq!(results.best(Site::Nginx, Figure::ChatCpuUs), Some(13.0));
        assert_eq!(results.best(Site::Nginx, Figure::ChatPerSecond), Some(70e3));
        assert_eq!(results.best(Site::Tokenwatch, Figure::ChatCpuUs), None);
        assert!(results.has(Site::Nginx) && !results.has(Site::Tokenwatch));
        assert_eq!(results.failures.len(), 1);
    }
}
