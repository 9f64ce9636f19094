//! Signatures of the Standard Webhooks specification, version 1: HMAC-SHA-256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use tokenwatch_model::secret::Secret;

/// What the specification puts before a secret that is written in base64.
const PREFIX: &str = "whsec_";

/// The value of `webhook-signature`: `v1,` and the signature in base64. The secret is `whsec_` and base64, as the
/// specification writes it, or else used byte for byte. `seconds` is the value of `webhook-timestamp`.
pub fn signature(secret: &Secret, id: &str, seconds: u64, body: &[u8]) -> String {
    let text = secret.expose();
    let decoded = text.strip_prefix(PREFIX).and_then(|rest| STANDARD.decode(rest).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, decoded.as_deref().unwrap_or(text.as_bytes()));
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_comes_out() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_ne!(signature(&Secret::new("plain"), "a", 1, b"x"), signature(&secret, "a", 1, b"x"));
    }
}
