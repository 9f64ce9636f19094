//! What a forest must say of points whose oddness is plain, and files.

use proptest::prelude::*;

use super::*;

fn rows(n: usize, seed: u64) -> Vec<Point> {
    let mut dice = Dice::new(seed);
    let mut normal = move || (0..12).map(|_| dice.unit()).sum::<f64>() as f32 - 6.0;
    (0..n).map(|_| std::array::from_fn(|_| normal())).collect()
}

fn forest(scope: Scope) -> Trees {
    Trees::grow(&rows(2_000, 1), &ForestSettings::new(scope), &mut Dice::new(2))
}

#[test]
fn the_further_out_the_higher_the_score() {
    let forest = forest(Scope::Novelty);
    let at = |x: f32| forest.score(&[x; WIDTH]);
    let (middle, edge, far) = (at(0.0), at(1.5), at(6.0));
    assert!(middle < 0.5 && middle < edge && edge < far && far > 0.7, "{middle} {edge} {far}");
    // One odd figure among fifteen usual ones says little: few cuts fall on it.
    let mut one = [0.0; WIDTH];
    one[3] = 8.0;
    let one = forest.score(&one);
    assert!(middle < one && one < far, "{middle} {one} {far}");
}

#[test]
fn usage_alone_is_blind_to_novelty() {
    let forest = forest(Scope::Usage);
    let (mut odd, usual) = ([0.0; WIDTH], [0.0; WIDTH]);
    odd[crate::classic::hours::USAGE..MEASURED].fill(20.0);
    assert_eq!(forest.score(&odd).to_bits(), forest.score(&usual).to_bits());
}

#[test]
fn equal_rows_make_one_leaf() {
    let same = vec![[1.0; WIDTH]; 300];
    let forest = Trees::grow(&same, &ForestSettings::new(Scope::Usage), &mut Dice::new(1));
    assert!(forest.trees.iter().all(|tree| tree.nodes.len() == 1));
    let score = forest.score(&[9.0; WIDTH]);
    assert!((0.0..=1.0).contains(&score), "{score}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let train = |settings: ForestSettings| Forest::train(&Training::new(1), 1, &settings).unwrap_err();
    let good = ForestSettings::new(Scope::Usage);
    let setting = |error| matches!(error, TrainError::Setting(_));
    assert!(setting(train(ForestSettings { trees: 0, ..good })));
    assert!(setting(train(ForestSettings { sample: 1, ..good })));
    assert!(setting(train(ForestSettings { sample: 40_000, ..good })));
    assert!(setting(train(ForestSettings { trim: f64::NAN, ..good })));
    assert_eq!(train(good), TrainError::Rows { have: 0, need: ROWS_MIN });
}

#[test]
fn models_come_back_whole_or_not_at_all() {
    let forest = Forest { trees: Arc::new(forest(Scope::Novelty)) };
    let bytes = forest.encode();
    assert_eq!(Forest::decode(&bytes), Ok(forest));
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 3] ^= 4;
    assert_eq!(Forest::decode(&damaged), Err(LoadModelError::Damaged));
    let load = |node: Node| {
        let leaf = Node { of: LEAF, right: 0, value: 1.0 };
        let trees = vec![Tree { nodes: vec![node, leaf, leaf] }];
        let trees = Trees { scope: Scope::Usage, trees, usual_depth: 2.0 };
        Forest::decode(&model_file::encode(Kind::Forest, &trees)).is_ok()
    };
    assert!(load(Node { of: 1, right: 2, value: 0.5 }));
    assert!(!load(Node { of: 1, right: 3, value: 0.5 }), "a child that is not there");
    assert!(!load(Node { of: 1, right: 0, value: 0.5 }), "a circle");
    assert!(!load(Node { of: WIDTH as u8, right: 2, value: 0.5 }), "a figure that is not there");
    assert!(!load(Node { of: 1, right: 2, value: f32::NAN }), "a cut that is not a number");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_row_of_the_sample_ends_in_a_leaf_and_scores_between_0_and_1(
        values in proptest::collection::vec(proptest::array::uniform3(-20f32..20.0), 2..120),
        seed: u64,
    ) {
        let points: Vec<Point> = values
            .iter()
            .map(|value| {
                let mut point = [0.0; WIDTH];
                // Coarse, so that many rows are equal in some figure.
                for (place, x) in point.iter_mut().zip(value) {
                    *place = x.round();
                }
                point
            })
            .collect();
        let settings = ForestSettings { trees: 8, ..ForestSettings::new(Scope::Usage) };
        let forest = Trees::grow(&points, &settings, &mut Dice::new(seed));
        for tree in &forest.trees {
            prop_assert!(tree.is_sound());
            prop_assert!(tree.nodes.len() < 2 * points.len());
        }
        for point in &points {
            prop_assert!((0.0..=1.0).contains(&forest.score(point)));
        }
    }
}
