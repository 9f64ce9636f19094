//! Admin tokens: what people and programs show to the admin API.
//!
//! A token is `twa_`, 256 random bits in base 62, and a checksum, in the same form as a virtual key. It is shown
//! once; its SHA-256 is what is stored and looked up, so that comparing takes no time that tells anything.

use tokenwatch_model::SmolStr;
use tokenwatch_model::credential::{ADMIN_PREFIX, mint_token, parse_token};
use tokenwatch_model::ports::Random;
use tokenwatch_model::secret::{Secret, SecretHash};
use tokenwatch_model::time::Timestamp;

use serde_json::json;

use crate::manage::{Manager, check_name, invalid};
use crate::records::{AdminToken, RecordsError, Role};

/// The name of the token that a server makes for itself when it starts; no stored token can have it.
pub const LOCAL: &str = "local";

/// What a new admin token is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// Unique name, also the actor in the audit log.
    pub name: SmolStr,
    /// What its holder may do.
    pub role: Role,
    /// When it stops working by itself.
    pub expires: Option<Timestamp>,
}

/// An admin token that was just issued: shown once, stored nowhere.
pub struct IssuedAdmin {
    /// What is known of it.
    pub token: AdminToken,
    /// The token.
    pub secret: Secret,
}

/// Makes an admin token.
pub fn mint(random: &dyn Random) -> (Secret, SecretHash) {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    mint_token(ADMIN_PREFIX, &bytes)
}

/// The hash to look up, when the text can be an admin token at all.
pub fn parse(text: &[u8]) -> Option<SecretHash> {
    parse_token(ADMIN_PREFIX, text)
}

impl Manager {
    /// Issues an admin token.
    ///
    /// # Errors
    ///
    /// When the name is taken or not a name, or the time lies in the past.
    pub fn issue_admin(&self, spec: AdminSpec, who: &str) -> Result<IssuedAdmin, RecordsError> {
        check_name("name", &spec.name, true)?;
        if spec.name == LOCAL {
            return Err(invalid("name", "`local` is the server's own token; choose another name"));
        }
        let now = self.clock.now();
        if spec.expires.is_some_and(|expires| expires <= now) {
            return Err(invalid("expires", "lies in the past"));
        }
        let (secret, hash) = mint(self.random.as_ref());
        let AdminSpec { name, role, expires } = spec;
        let token = AdminToken { name, role, created: now, expires, revoked: None };
        let detail = json!({ "role": role, "expires": expires.map(|at| at.to_string()) });
        let entry = self.entry(who, "admin.issue", &token.name, &detail);
        self.records.insert_admin_token(&token, &hash, &entry)?;
        Ok(IssuedAdmin { token, secret })
    }

    /// Every admin token, by name, ended ones included.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub fn admins(&self) -> Result<Vec<AdminToken>, RecordsError> {
        self.records.admin_tokens()
    }

    /// Ends an admin token; from the next request on it is refused.
    ///
    /// # Errors
    ///
    /// When there is none with this name.
    pub fn revoke_admin(&self, name: &str, who: &str) -> Result<(), RecordsError> {
        let entry = self.entry(who, "admin.revoke", name, &json!({}));
        self.records.revoke_admin_token(name, self.clock.now(), &entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn minted_tokens_are_recognised_and_changed_ones_are_not() {
        let (secret, hash) = mint(&Fixed(7));
        let text = secret.expose();
        assert!(text.starts_with(ADMIN_PREFIX));
        assert!(parse(text.as_bytes()).is_some_and(|found| found.matches(&hash)));
        assert!(parse(&text.as_bytes()[..text.len() - 1]).is_none());
        assert!(parse(text.replace("twa_", "sk-tw-").as_bytes()).is_none());
        assert!(parse(b"").is_none());
    }
}
