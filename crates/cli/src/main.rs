//! The binary `tokenwatch`.

fn main() {}
