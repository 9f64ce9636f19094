//! A request in flight, seen from outside its own task: what it is, and a way to cut it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use atomic_waker::AtomicWaker;
use std::task::Context;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::id::ActorId;
use tokenwatch_model::limit::BudgetWindow;
use tokenwatch_model::outcome::{Cut, Refusal};
use tokenwatch_model::time::Timestamp;

use crate::registry::Issue;

const RUNNING: u8 = 0;
const NEVER: u64 = u64::MAX;

/// Shared between the request's task and whoever may cut it.
pub(crate) struct Flight {
    /// What was judged.
    pub(crate) context: RequestContext,
    /// Whose it is.
    pub(crate) actor: ActorId,
    /// Which credential it presented.
    pub(crate) issue: Issue,
    cut: AtomicU8,
    /// What requests of its key are told since the key ended.
    barred: OnceLock<Refusal>,
    waker: AtomicWaker,
    /// Cost so far in nanodollars, written by the tap, for live views.
    pub(crate) cost_so_far: AtomicU64,
    /// When the time of the key or of the presented credential is over, in microseconds since 1970.
    expires: AtomicU64,
    /// Whether that is the credential's time.
    is_rotated: AtomicBool,
}

impl Flight {
    pub(crate) fn new(context: RequestContext, actor: ActorId, issue: Issue) -> Self {
        Self {
            context,
            actor,
            issue,
            cut: AtomicU8::new(RUNNING),
            barred: OnceLock::new(),
            waker: AtomicWaker::new(),
            cost_so_far: AtomicU64::new(0),
            expires: AtomicU64::new(NEVER),
            is_rotated: AtomicBool::new(false),
        }
    }

    /// Cuts the request: its stream ends at its next step, which is made at once. The first cause stands.
    pub(crate) fn cut(&self, cause: Cut) {
        let code = match cause {
            Cut::Budget => 1,
            Cut::Containment => 2,
            Cut::Shutdown => 3,
            Cut::Expired => 4,
        };
        let _ = self.cut.compare_exchange(RUNNING, code, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    /// Cuts the request because its whole key, or the credential it presented, ended; new requests are told the same.
    pub(crate) fn bar(&self, refusal: Refusal) {
        let _ = self.barred.set(refusal);
        let is_over = matches!(refusal, Refusal::Expired | Refusal::Rotated);
        self.cut(if is_over { Cut::Expired } else { Cut::Containment });
    }

    /// What a request that was cut before its answer began is told.
    pub(crate) fn refusal(&self, cut: Cut) -> Refusal {
        match cut {
            Cut::Containment => self.barred.get().copied().unwrap_or(Refusal::ContextRefused),
            Cut::Budget => Refusal::Budget(BudgetWindow::Total),
            Cut::Shutdown => Refusal::Overloaded,
            Cut::Expired => self.barred.get().copied().unwrap_or(Refusal::Expired),
        }
    }

    /// Whether it was cut, and why.
    pub(crate) fn is_cut(&self) -> Option<Cut> {
        match self.cut.load(Ordering::Acquire) {
            1 => Some(Cut::Budget),
            2 => Some(Cut::Containment),
            3 => Some(Cut::Shutdown),
            4 => Some(Cut::Expired),
            _ => None,
        }
    }

    /// Says when the time of the key, or of the credential, is over.
    pub(crate) fn set_end(&self, end: Option<(Timestamp, Refusal)>) {
        let is_rotated = end.is_some_and(|(_, refusal)| refusal == Refusal::Rotated);
        self.is_rotated.store(is_rotated, Ordering::Relaxed);
        self.expires.store(end.map_or(NEVER, |(at, _)| at.0), Ordering::Release);
    }

    /// Cuts the request when its time is over. The clock is read only if there is an end.
    pub(crate) fn look_at_expiry(&self, now: impl FnOnce() -> Timestamp) {
        let expires = self.expires.load(Ordering::Acquire);
        if expires != NEVER && expires <= now().0 {
            let is_rotated = self.is_rotated.load(Ordering::Relaxed);
            self.bar(if is_rotated { Refusal::Rotated } else { Refusal::Expired });
        }
    }

    /// Whether it was cut, and why; asks to be woken when it is.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Option<Cut> {
        // In this order: a cut in between wakes what was just registered.
        self.waker.register(cx.waker());
        self.is_cut()
    }
}

#[cfg(test)]
mod tests {
    use tokenwatch_model::id::KeyId;

    use super::*;
    use crate::testing::request;

    fn flight() -> Flight {
        Flight::new(request(KeyId::from_bits(1)), ActorId::from_bits(1), Issue::default())
    }

    #[test]
    fn the_first_cause_stands() {
        let flight = flight();
        assert_eq!(flight.is_cut(), None);
        flight.cut(Cut::Containment);
        flight.cut(Cut::Budget);
        assert_eq!(flight.is_cut(), Some(Cut::Containment));
    }

    #[test]
    fn it_is_told_what_ended_its_key() {
        for (refusal, cut) in [
            (Refusal::Revoked, Cut::Containment),
            (Refusal::Disabled, Cut::Containment),
            (Refusal::Suspended, Cut::Containment),
            (Refusal::Expired, Cut::Expired),
            (Refusal::Rotated, Cut::Expired),
        ] {
            let flight = flight();
            assert_eq!(flight.refusal(Cut::Containment), Refusal::ContextRefused);
            flight.bar(refusal);
            assert_eq!(flight.is_cut(), Some(cut));
            assert_eq!(flight.refusal(cut), refusal);
        }
    }

    #[test]
    fn it_ends_with_its_key() {
        let flight = flight();
        flight.look_at_expiry(|| panic!("nothing to compare the clock with"));
        flight.set_end(Some((Timestamp(7), Refusal::Expired)));
        flight.look_at_expiry(|| Timestamp(6));
        assert_eq!(flight.is_cut(), None);
        flight.set_end(None);
        flight.look_at_expiry(|| Timestamp(8));
        assert_eq!(flight.is_cut(), None);
        flight.set_end(Some((Timestamp(7), Refusal::Expired)));
        flight.look_at_expiry(|| Timestamp(7));
        assert_eq!(flight.is_cut(), Some(Cut::Expired));
    }
}
