//! Placeholder
/// x
pub struct TheftLimits;
/// x
pub struct Stolen;
