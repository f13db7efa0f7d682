//! ULIDs as their 26 characters in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;

use crate::model::Tally;

pub(super) fn serialize<S: Serializer>(ulid: &Ulid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ulid)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ulid, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: de::Error>(text: &str) -> Result<Ulid, E> {
    Ulid::from_string(text).map_err(|_invalid| E::custom(format!("{text:?} is no ULID")))
}

/// One that may be missing.
pub(super) mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Ulid};

    pub(in super::super) fn serialize<S: Serializer>(ulid: &Option<Ulid>, serializer: S) -> Result<S::Ok, S::Error> {
        ulid.map(|ulid| ulid.to_string()).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ulid>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| super::parse(&text)).transpose()
    }
}

/// A list.
pub(super) mod list {
    use super::{Deserialize, Deserializer, Serializer, Ulid};

    pub(in super::super) fn serialize<S: Serializer>(ulids: &[Ulid], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ulids.iter().map(Ulid::to_string))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ulid>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| super::parse(text)).collect()
    }
}

/// Tallies by ULID, as an object.
pub(super) mod map {
    use super::{BTreeMap, Deserialize, Deserializer, Serializer, Tally, Ulid};

    pub(in super::super) fn serialize<S: Serializer>(
        blocks: &BTreeMap<Ulid, Tally>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(blocks.iter().map(|(ulid, tally)| (ulid.to_string(), tally)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Ulid, Tally>, D::Error> {
        let texts = BTreeMap::<String, Tally>::deserialize(deserializer)?;
        texts.into_iter().map(|(text, tally)| Ok((super::parse(&text)?, tally))).collect()
    }
}
