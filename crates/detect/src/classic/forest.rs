//! Isolation forest (Liu, Ting and Zhou 2008) over a fleet's key-hours: what is cut off by few random cuts is odd.
//!
//! One forest serves all keys, because the rows are normalised by each key's own past. A row's score is
//! `2^(-depth / expected depth)` over all trees: near 1 for what is alone, about 0.5 for what is usual. A key's
//! hour is scored when its next event shows that it is over.
//!
//! Our own code, because no library fits: `extended-isolation-forest` (last changed 2022) and `isolation_forest`
//! (2021) draw from the thread's random generator, so the same events would not give the same scores, and keep
//! their rows at fixed sizes or in string maps; `linfa` and `smartcore` have no isolation forest, and random
//! cut forests (`rcf3`, `krcf`) retrain with every event they score.
//!
//! Invariants: training depends on the rows and the seed alone; scores are the same bits everywhere; a tree is at
//! most [`ForestSettings::sample`] leaves.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokenwatch_model::event::UsageEvent;

use super::dice::Dice;
use super::hours::{Hours, MEASURED, Row, Scope};
use super::model_file::{self, Kind, LoadModelError};
use super::training::{TrainError, Training};
use crate::math::ln;
use crate::method::{Method, Scores, Watch};
use crate::profile::KeyProfile;

/// Fewest rows to train on.
const ROWS_MIN: usize = 64;
/// What a row becomes: its figures, and the hour of the day.
const WIDTH: usize = MEASURED + 2;

/// Settings of a forest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForestSettings {
    /// What it looks at.
    pub scope: Scope,
    /// Trees.
    pub trees: usize,
    /// Rows that a tree is grown from; at most 32,768.
    pub sample: usize,
    /// Share of the rows, the oddest by a first forest, that the real one is not trained on: even clean traffic
    /// holds hours that should not pass for normal.
    pub trim: f64,
}

impl ForestSettings {
    /// 100 trees of 256 rows each, as the method's authors advise; the oddest hundredth is left out.
    pub const fn new(scope: Scope) -> Self {
        Self { scope, trees: 100, sample: 256, trim: 0.01 }
    }
}

/// A cut, or a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    /// The place in the row that is compared; [`LEAF`] for a leaf.
    of: u8,
    /// The right child; the left one is the next node.
    right: u16,
    /// Below it goes left. For a leaf: the depth that rows in it count for.
    value: f32,
}

const LEAF: u8 = u8::MAX;

/// A row as the forest sees it.
type Point = [f32; WIDTH];

fn point_of(row: &Row) -> Point {
    let mut point = [0.0; WIDTH];
    point[..MEASURED].copy_from_slice(&row.figures);
    point[MEASURED] = row.sin;
    point[MEASURED + 1] = row.cos;
    point
}

/// Mean depth of a search that fails in a binary tree of `n` rows.
fn mean_depth(n: usize) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let below = (n - 1) as f64;
            2.0 * (ln(below) + 0.577_215_664_901_532_9) - 2.0 * below / n as f64
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    fn grow(mut points: Vec<Point>, places: &[u8], depth_max: u32, dice: &mut Dice) -> Self {
        let mut tree = Self { nodes: Vec::with_capacity(2 * points.len()) };
        tree.grow_node(&mut points, places, 0, depth_max, dice);
        tree
    }

    /// Grows the tree of `points` at the end of the nodes.
    fn grow_node(
        &mut self,
        points: &mut [Point],
        places: &[u8],
        depth: u32,
        depth_max: u32,
        dice: &mut Dice,
    ) {
        let here = self.nodes.len();
        let leaf = Node { of: LEAF, right: 0, value: (f64::from(depth) + mean_depth(points.len())) as f32 };
        self.nodes.push(leaf);
        if depth >= depth_max || points.len() < 2 {
            return;
        }
        let Some((of, cut)) = choose_cut(points, places, dice) else { return };
        let split = partition(points, |point| point[usize::from(of)] < cut);
        let (left, right) = points.split_at_mut(split);
        self.grow_node(left, places, depth + 1, depth_max, dice);
        let right_at = self.nodes.len() as u16;
        self.grow_node(right, places, depth + 1, depth_max, dice);
        if let Some(node) = self.nodes.get_mut(here) {
            *node = Node { of, right: right_at, value: cut };
        }
    }

    /// Whether every way through the tree ends in a leaf.
    fn is_sound(&self) -> bool {
        !self.nodes.is_empty()
            && self.nodes.iter().enumerate().all(|(at, node)| {
                let right = usize::from(node.right);
                let leads_on = usize::from(node.of) < WIDTH && right > at + 1 && right < self.nodes.len();
                (node.of == LEAF || leads_on) && node.value.is_finite()
            })
    }

    /// The depth at which a point is alone.
    fn depth(&self, point: &Point) -> f32 {
        let mut at = 0;
        // Every step goes to a later node, so this ends.
        while let Some(node) = self.nodes.get(at) {
            if node.of == LEAF {
                return node.value;
            }
            let goes_left = point.get(usize::from(node.of)).is_some_and(|&x| x < node.value);
            at = if goes_left { at + 1 } else { usize::from(node.right) };
        }
        0.0
    }
}

/// A figure that differs between the points, and a cut between its least and greatest value.
fn choose_cut(points: &[Point], places: &[u8], dice: &mut Dice) -> Option<(u8, f32)> {
    let range = |of: u8| {
        points
            .iter()
            .map(|point| point[usize::from(of)])
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let mut candidates = [0u8; WIDTH];
    let mut n = 0;
    for &of in places {
        let (low, high) = range(of);
        if low < high {
            candidates[n] = of;
            n += 1;
        }
    }
    let of = *candidates[..n].get(dice.below(n))?;
    let (low, high) = range(of);
    let cut = low + (high - low) * dice.unit() as f32;
    // At `low` nothing would go left; rounding can lead there.
    Some((of, if cut > low { cut } else { high }))
}

/// Moves what satisfies `goes_left` to the front; returns how much that is.
fn partition(points: &mut [Point], goes_left: impl Fn(&Point) -> bool) -> usize {
    let mut split = 0;
    for at in 0..points.len() {
        if points.get(at).is_some_and(&goes_left) {
            points.swap(at, split);
            split += 1;
        }
    }
    split
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Trees {
    scope: Scope,
    trees: Vec<Tree>,
    /// Mean depth of a tree, by which depths are measured.
    usual_depth: f64,
}

impl Trees {
    fn grow(points: &[Point], settings: &ForestSettings, dice: &mut Dice) -> Self {
        let sample = settings.sample.min(points.len());
        let depth_max = sample.next_power_of_two().ilog2();
        let measured = settings.scope.measured() as u8;
        let places: Vec<u8> = (0..measured).chain([MEASURED as u8, MEASURED as u8 + 1]).collect();
        let mut order: Vec<usize> = (0..points.len()).collect();
        let trees = (0..settings.trees).map(|_| {
            // The first places of a shuffled order: a sample without repetition.
            for place in 0..sample {
                order.swap(place, place + dice.below(points.len() - place));
            }
            let own = order.iter().take(sample).filter_map(|&at| points.get(at).copied()).collect();
            Tree::grow(own, &places, depth_max, dice)
        });
        Self { scope: settings.scope, trees: trees.collect(), usual_depth: mean_depth(sample) }
    }

    fn score(&self, point: &Point) -> f64 {
        let depth: f64 = self.trees.iter().map(|tree| f64::from(tree.depth(point))).sum();
        libm::exp2(-depth / (self.trees.len() as f64 * self.usual_depth))
    }
}

/// A trained forest, a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    trees: Arc<Trees>,
}

impl Forest {
    /// Trains a forest.
    ///
    /// # Errors
    ///
    /// When there are fewer than 64 rows, or a setting makes no sense.
    pub fn train(training: &Training, seed: u64, settings: &ForestSettings) -> Result<Self, TrainError> {
        if settings.trees == 0 || !(2..=32_768).contains(&settings.sample) {
            return Err(TrainError::Setting("this number of trees or rows"));
        }
        if !(0.0..0.5).contains(&settings.trim) {
            return Err(TrainError::Setting("a share to trim outside 0..0.5"));
        }
        let points: Vec<Point> = training.sampled_rows().map(point_of).collect();
        if points.len() < ROWS_MIN {
            return Err(TrainError::Rows { have: points.len(), need: ROWS_MIN });
        }
        let mut dice = Dice::new(seed);
        let first = Trees::grow(&points, settings, &mut dice);
        let mut scored: Vec<(f64, Point)> =
            points.into_iter().map(|point| (first.score(&point), point)).collect();
        scored.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let kept = scored.len() - (scored.len() as f64 * settings.trim) as usize;
        let clean: Vec<Point> = scored.into_iter().take(kept).map(|(_, point)| point).collect();
        Ok(Self { trees: Arc::new(Trees::grow(&clean, settings, &mut dice)) })
    }

    /// The model as bytes for a file: version, trees, checksum.
    pub fn encode(&self) -> Vec<u8> {
        model_file::encode(Kind::Forest, self.trees.as_ref())
    }

    /// The inverse of [`Forest::encode`].
    ///
    /// # Errors
    ///
    /// When the bytes are from another version or method, damaged, or of another shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, LoadModelError> {
        let trees: Trees = model_file::decode(Kind::Forest, bytes)?;
        if trees.trees.is_empty() || !trees.trees.iter().all(Tree::is_sound) {
            return Err(LoadModelError::Shape("a tree has no leaves"));
        }
        if !(trees.usual_depth.is_finite() && trees.usual_depth > 0.0) {
            return Err(LoadModelError::Shape("its usual depth is not a number"));
        }
        Ok(Self { trees: Arc::new(trees) })
    }

    /// Memory of the forest, shared by all keys, in bytes.
    pub fn bytes(&self) -> usize {
        self.trees.trees.iter().map(|tree| tree.nodes.capacity() * size_of::<Node>()).sum()
    }
}

impl Method for Forest {
    fn id(&self) -> &'static str {
        match self.trees.scope {
            Scope::Usage => "isolation_forest",
            Scope::Novelty => "isolation_forest_novelty",
        }
    }

    fn unit(&self) -> &'static str {
        "isolation score of an hour, 0 to 1"
    }

    fn watch(&self, _: &KeyProfile) -> Box<dyn Watch> {
        Box::new(ForestWatch { trees: Arc::clone(&self.trees), hours: Hours::new(self.trees.scope) })
    }
}

#[derive(Clone, Debug)]
struct ForestWatch {
    trees: Arc<Trees>,
    hours: Hours,
}

impl Watch for ForestWatch {
    fn see(&mut self, event: &UsageEvent) -> Scores {
        let after = self.hours.see(event).map_or(0.0, |row| self.trees.score(&point_of(&row)));
        Scores { before: 0.0, after }
    }

    fn fork(&self) -> Box<dyn Watch> {
        Box::new(self.clone())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Hours>() + self.hours.bytes()
    }
}

#[cfg(test)]
mod tests;
