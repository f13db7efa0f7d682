//! Checks passwords without letting the checks take the server down.
//!
//! A bcrypt hash costs tens of milliseconds by design. One is checked at a time, off the asynchronous threads; what was
//! found is kept, good and bad apart so that wrong passwords push no right one out; requests with the same credential
//! wait for one check; and the checks that wait are bounded, in all and for one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::hmac;
use tokio::sync::{OnceCell, Semaphore};

use super::credentials::Credentials;
use super::rights::Caller;

/// Checks that wait or are under way.
const WAITING_MAX: usize = 32;
/// Those of one address.
const WAITING_OF_ADDRESS_MAX: usize = 4;
/// Findings of each kind that are kept.
const KNOWN_MAX: usize = 1024;

/// A keyed hash of an `Authorization` header. The key is made at the start: who reads the memory of a cache finds no
/// hash that could be tried out elsewhere, and nobody can aim at a place in it.
type Fingerprint = [u8; 32];

/// What was found of a header: whose it is, or that it is nobody's.
type Finding = Option<Caller>;

/// Findings that hold for one set of credentials.
#[derive(Default)]
pub(super) struct Known(Mutex<KnownInner>);

#[derive(Default)]
struct KnownInner {
    good: HashMap<Fingerprint, Caller>,
    bad: HashMap<Fingerprint, ()>,
}

impl Known {
    fn find(&self, fingerprint: &Fingerprint) -> Option<Finding> {
        let known = lock(&self.0);
        if let Some(caller) = known.good.get(fingerprint) {
            return Some(Some(caller.clone()));
        }
        known.bad.contains_key(fingerprint).then_some(None)
    }

    fn keep(&self, fingerprint: Fingerprint, finding: &Finding) {
        let mut known = lock(&self.0);
        match finding {
            Some(caller) => insert_bounded(&mut known.good, fingerprint, caller.clone()),
            None => insert_bounded(&mut known.bad, fingerprint, ()),
        }
    }
}

/// Inserts; a full map is emptied first. Whoever is still there is found again by one check.
fn insert_bounded<V>(map: &mut HashMap<Fingerprint, V>, key: Fingerprint, value: V) {
    if map.len() >= KNOWN_MAX {
        map.clear();
    }
    map.insert(key, value);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Too many checks wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// The checks of all passwords.
pub(super) struct PasswordChecks {
    key: hmac::Key,
    one_at_a_time: Arc<Semaphore>,
    waiting: Mutex<HashMap<Fingerprint, Waiting>>,
}

struct Waiting {
    finding: Arc<OnceCell<Finding>>,
    address: Option<IpAddr>,
    requests: usize,
}

/// A request's part in a check; the last one takes the check off the list.
struct Part<'a> {
    checks: &'a PasswordChecks,
    fingerprint: Fingerprint,
    finding: Arc<OnceCell<Finding>>,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.checks.waiting);
        if let Some(one) = waiting.get_mut(&self.fingerprint) {
            one.requests -= 1;
            if one.requests == 0 {
                waiting.remove(&self.fingerprint);
            }
        }
    }
}

impl PasswordChecks {
    pub(super) fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        PasswordChecks {
            // Without random bytes of the system TLS and tokens have none either; a fixed key costs only what is said
            // above.
            key: key.unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, b"")),
            one_at_a_time: Arc::new(Semaphore::new(1)),
            waiting: Mutex::default(),
        }
    }

    /// What an `Authorization` header stands for.
    pub(super) fn fingerprint(&self, header: &[u8]) -> Fingerprint {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hmac::sign(&self.key, header).as_ref());
        fingerprint
    }

    /// What is known already, without a check.
    pub(super) fn known(&self, known: &Known, fingerprint: &Fingerprint) -> Option<Finding> {
        known.find(fingerprint)
    }

    /// Finds out by a check, together with whoever waits for the same.
    pub(super) async fn check<S>(
        &self,
        set: Arc<S>,
        fingerprint: Fingerprint,
        address: Option<IpAddr>,
        (user, password): (String, Vec<u8>),
    ) -> Result<Finding, TooMany>
    where
        S: AsRef<Credentials> + AsRef<Known> + Send + Sync + 'static,
    {
        let part = self.take_part(fingerprint, address)?;
        let check = || async {
            // The semaphore is never closed.
            let turn = self.one_at_a_time.clone().acquire_owned().await;
            let checking = tokio::task::spawn_blocking(move || {
                // Held by the thread: a client that goes away does not let the next check begin beside this one.
                let _turn = turn;
                let credentials: &Credentials = (*set).as_ref();
                let finding = credentials.by_password(&user, &password);
                let known: &Known = (*set).as_ref();
                known.keep(fingerprint, &finding);
                finding
            });
            checking.await.unwrap_or_default()
        };
        Ok(part.finding.get_or_init(check).await.clone())
    }

    fn take_part(&self, fingerprint: Fingerprint, address: Option<IpAddr>) -> Result<Part<'_>, TooMany> {
        let mut waiting = lock(&self.waiting);
        if !waiting.contains_key(&fingerprint) {
            let of_address = waiting.values().filter(|one| one.address == address).count();
            if waiting.len() >= WAITING_MAX || of_address >= WAITING_OF_ADDRESS_MAX {
                return Err(TooMany);
            }
        }
        let new = || Waiting { finding: Arc::default(), address, requests: 0 };
        let one = waiting.entry(fingerprint).or_insert_with(new);
        one.requests += 1;
        Ok(Part { checks: self, fingerprint, finding: one.finding.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rights::Rights;
    use super::*;

    #[test]
    fn checks_that_wait_are_bounded_for_one_address_and_in_all() {
        let checks = PasswordChecks::new();
        let address = |n: u8| Some(IpAddr::from([127, 0, 0, n]));
        let fingerprint = |n: usize| checks.fingerprint(&n.to_be_bytes());
        let mut parts: Vec<_> = (0..4).map(|n| checks.take_part(fingerprint(n), address(1)).unwrap()).collect();
        assert!(checks.take_part(fingerprint(4), address(1)).is_err());
        parts.push(checks.take_part(fingerprint(3), address(1)).unwrap_or_else(|_| panic!("the same waits too")));
        for n in 4..32 {
            parts.push(checks.take_part(fingerprint(n), address(n as u8)).unwrap_or_else(|_| panic!("{n}")));
        }
        assert!(checks.take_part(fingerprint(32), address(99)).is_err());
        drop(parts);
        assert!(checks.take_part(fingerprint(32), address(1)).is_ok());
        assert!(lock(&checks.waiting).is_empty());
    }

    #[test]
    fn wrong_passwords_push_no_right_one_out() {
        let (checks, known) = (PasswordChecks::new(), Known::default());
        let right = checks.fingerprint(b"right");
        known.keep(right, &Some(Caller { name: Some("ann".into()), rights: Rights::ALL }));
        for n in 0..10 * KNOWN_MAX {
            known.keep(checks.fingerprint(&n.to_be_bytes()), &None);
        }
        assert!(matches!(checks.known(&known, &right), Some(Some(caller)) if caller.name.as_deref() == Some("ann")));
        assert!(lock(&known.0).bad.len() <= KNOWN_MAX);
        assert!(checks.known(&known, &checks.fingerprint(b"never seen")).is_none());
    }
}
