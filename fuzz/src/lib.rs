//! The targets, shared with the tests of `tokenwatch-wire`, which run them on every build.

#[path = "../../crates/wire/tests/it/targets.rs"]
mod targets;

macro_rules! export {
    ($($name:ident)*) => {
        $(
            /// See the function of that name in `targets.rs`.
            pub fn $name(data: &[u8]) {
                targets::$name(data);
            }
        )*
    };
}

export!(request_parse answer response_tap path client_headers encoding price inventory credential);
