//! Who is at the door, and what that credential may do.

use std::sync::Arc;

use crate::api::route::Right;

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    read: bool,
    write: bool,
    admin: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Rights = Rights { read: true, write: true, admin: true };

    /// The rights of these names; a name that is none, or the lack of any, is the error.
    pub fn from_names(names: &[String]) -> Result<Self, String> {
        let mut rights = Rights::default();
        for name in names {
            match name.as_str() {
                "read" => rights.read = true,
                "write" => rights.write = true,
                "admin" => rights.admin = true,
                other => return Err(other.to_owned()),
            }
        }
        if names.is_empty() { Err(String::new()) } else { Ok(rights) }
    }

    /// Whether they cover what an endpoint needs.
    pub fn cover(self, needed: Right) -> bool {
        match needed {
            Right::Any => true,
            Right::Read => self.read,
            Right::Write => self.write,
            Right::Admin => self.admin,
        }
    }
}

/// Who sent a request, as an extension of the request. It is there where doors are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name that goes with the credential; `None` where none was asked for.
    pub name: Option<Arc<str>>,
    /// What the credential may do.
    pub rights: Rights,
}

impl Caller {
    /// Anybody, where no credential is asked for.
    pub fn anybody() -> Self {
        Caller { name: None, rights: Rights::ALL }
    }
}
