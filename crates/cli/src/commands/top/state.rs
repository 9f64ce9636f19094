//! What `top` shows, and what looks and key presses make of it. No terminal, no clock.

use std::time::Duration;

use tokenwatch_console::api::shapes::{Live, LiveKey};
use tokenwatch_model::id::KeyId;

/// What the keyboard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Up(usize),
    Down(usize),
    Sort,
    Pause,
    Quit,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Rate,
    SpentDay,
    Score,
    Refused,
    Name,
}

impl Sort {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::SpentDay => "spend",
            Self::Score => "score",
            Self::Refused => "refused",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::SpentDay,
            Self::SpentDay => Self::Score,
            Self::Score => Self::Refused,
            Self::Refused => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    fn order(self, keys: &mut [LiveKey]) {
        // The server sends them by name; a stable sort keeps that among equals.
        match self {
            Self::Rate => {
                keys.sort_by(|a, b| rate(&b.requests_by_second).total_cmp(&rate(&a.requests_by_second)))
            }
            Self::SpentDay => keys.sort_by_key(|key| std::cmp::Reverse(key.spent_day)),
            Self::Score => keys.sort_by(|a, b| b.score_days.total_cmp(&a.score_days)),
            Self::Refused => keys.sort_by_key(|key| std::cmp::Reverse(key.refused)),
            Self::Name => keys.sort_by(|a, b| a.name.cmp(&b.name)),
        }
    }
}

/// Seconds over which a rate is taken.
const RATE_OVER: usize = 10;

/// Requests a second over the last whole seconds; the one that runs is not over yet.
pub(super) fn rate(by_second: &[u64]) -> f64 {
    let whole = by_second.split_last().map_or(by_second, |(_, whole)| whole);
    let recent = whole.get(whole.len().saturating_sub(RATE_OVER)..).unwrap_or_default();
    if recent.is_empty() { 0.0 } else { recent.iter().map(|&n| n as f64).sum::<f64>() / recent.len() as f64 }
}

/// Seconds beyond the interval in which a look may take its time.
const PATIENCE_S: u64 = 2;

/// Everything on the screen.
pub(super) struct Top {
    pub(super) address: String,
    pub(super) live: Option<Live>,
    /// Why the last look failed.
    pub(super) problem: Option<String>,
    /// Seconds since the last look that did not.
    pub(super) silent_s: u64,
    /// Seconds of silence that are worth a word.
    patience_s: u64,
    pub(super) sort: Sort,
    pub(super) is_paused: bool,
    selected: Option<KeyId>,
    /// First row that is shown.
    pub(super) offset: usize,
}

impl Top {
    pub(super) const fn new(address: String, interval: Duration) -> Self {
        Self {
            address,
            live: None,
            problem: None,
            silent_s: 0,
            patience_s: interval.as_secs().saturating_add(PATIENCE_S),
            sort: Sort::Rate,
            is_paused: false,
            selected: None,
            offset: 0,
        }
    }

    /// Whether the server has not answered for longer than it should take.
    pub(super) const fn is_silent(&self) -> bool {
        self.silent_s > self.patience_s
    }

    /// Takes a look in, unless paused.
    pub(super) fn take(&mut self, mut live: Live) {
        self.problem = None;
        if !self.is_paused {
            self.sort.order(&mut live.keys);
            self.live = Some(live);
        }
    }

    /// A look failed: what was seen last stays on the screen.
    pub(super) fn fail(&mut self, problem: String) {
        self.problem = Some(problem);
    }

    pub(super) fn keys(&self) -> &[LiveKey] {
        self.live.as_ref().map_or(&[], |live| &live.keys)
    }

    /// Row of the selected key: the key stays selected when rows change places; the first one when it is gone.
    pub(super) fn row(&self) -> usize {
        let place = |id| self.keys().iter().position(|key| key.id == id);
        self.selected.and_then(place).unwrap_or(0)
    }

    pub(super) fn selected(&self) -> Option<&LiveKey> {
        self.keys().get(self.row())
    }

    /// Does what a key press says; false when it says to end.
    pub(super) fn press(&mut self, input: Input) -> bool {
        let last = self.keys().len().saturating_sub(1);
        let select = |top: &mut Self, row: usize| top.selected = top.keys().get(row).map(|key| key.id);
        match input {
            Input::Quit => return false,
            Input::Up(by) => select(self, self.row().saturating_sub(by)),
            Input::Down(by) => select(self, self.row().saturating_add(by).min(last)),
            Input::Pause => self.is_paused = !self.is_paused,
            Input::Sort => {
                self.sort = self.sort.next();
                let sort = self.sort;
                if let Some(live) = &mut self.live {
                    sort.order(&mut live.keys);
                }
            }
        }
        true
    }

    /// Moves the rows so that the selected one is among the `height` that are shown.
    pub(super) fn scroll(&mut self, height: usize) {
        let (row, height) = (self.row(), height.max(1));
        let most = self.keys().len().saturating_sub(height);
        self.offset = self.offset.clamp((row + 1).saturating_sub(height), row).min(most);
    }
}
