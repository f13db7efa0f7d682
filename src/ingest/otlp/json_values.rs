//! The scalars and lists of OTLP's JSON.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::limits::DecodeError;

/// A list that is not read yet.
pub(super) type List<'a> = Option<&'a RawValue>;

/// The error of a text that is not a message.
#[cold]
pub(super) fn malformed(message: impl Into<String>) -> DecodeError {
    DecodeError::MalformedJson { at: String::new(), message: message.into() }
}

/// Reads the elements of a list one by one. An error says in which of them it was found.
pub(super) fn elements<'a, T: Deserialize<'a>>(
    list: List<'a>,
    name: &'static str,
    mut each: impl FnMut(T) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let Some(list) = list else { return Ok(()) };
    let (mut fault, mut index) = (None, 0);
    let visitor = Elements { each: &mut each, fault: &mut fault, index: &mut index, element: PhantomData };
    let read = (&mut serde_json::Deserializer::from_str(list.get())).deserialize_seq(visitor);
    let fault = match (fault, read) {
        (Some(fault), _) => fault,
        (None, Err(error)) => malformed(without_place(&error)),
        (None, Ok(())) => return Ok(()),
    };
    Err(match fault {
        DecodeError::MalformedJson { at, message } => {
            let at = if at.is_empty() { ": ".to_owned() } else { format!(".{at}") };
            DecodeError::MalformedJson { at: format!("{name}[{index}]{at}"), message }
        }
        other => other,
    })
}

/// What is wrong, without the line and column, which are those of a part of the text.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// Reads the elements of a list of messages one by one.
pub(super) fn messages<'a, T: Deserialize<'a>>(
    list: List<'a>,
    name: &'static str,
    mut each: impl FnMut(T) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    elements(list, name, |Object(message)| each(message))
}

/// A message. A derived reader alone would take a list for one, its elements for the fields in their order.
#[derive(Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct Elements<'f, F, T> {
    each: &'f mut F,
    fault: &'f mut Option<DecodeError>,
    index: &'f mut usize,
    element: PhantomData<T>,
}

impl<'de, F, T> Visitor<'de> for Elements<'_, F, T>
where
    F: FnMut(T) -> Result<(), DecodeError>,
    T: Deserialize<'de>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if let Err(fault) = (self.each)(element) {
                *self.fault = Some(fault);
                return Err(de::Error::custom("an element is not what it should be"));
            }
            *self.index += 1;
        }
        Ok(())
    }
}

/// A text; `null` is an empty one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// An integer, as a number or as a text; `null` is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Integer<T>(pub(super) T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Integer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wide = deserializer.deserialize_any(IntegerVisitor)?;
        T::try_from(wide).map(Integer).map_err(|_range| de::Error::custom(format!("integer {wide} is out of range")))
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, as a number or a string")
    }

    fn visit_u64<E>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    /// A number with a point or an exponent may be a whole one.
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<i128, E> {
        if value.fract() == 0.0 { Ok(value as i128) } else { Err(E::invalid_type(de::Unexpected::Float(value), &self)) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i128, E> {
        text.parse().map_err(|_text| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_unit<E>(self) -> Result<i128, E> {
        Ok(0)
    }
}

/// The number of a temporality. Names are no part of OTLP's JSON, but senders exist that write them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TemporalityNumber(pub(super) i64);

impl<'de> Deserialize<'de> for TemporalityNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = TemporalityNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a temporality")
            }

            fn visit_i64<E>(self, value: i64) -> Result<TemporalityNumber, E> {
                Ok(TemporalityNumber(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<TemporalityNumber, E> {
                Ok(TemporalityNumber(i64::try_from(value).unwrap_or(0)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TemporalityNumber, E> {
                match text {
                    "AGGREGATION_TEMPORALITY_UNSPECIFIED" => Ok(TemporalityNumber(0)),
                    "AGGREGATION_TEMPORALITY_DELTA" => Ok(TemporalityNumber(1)),
                    "AGGREGATION_TEMPORALITY_CUMULATIVE" => Ok(TemporalityNumber(2)),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_unit<E>(self) -> Result<TemporalityNumber, E> {
                Ok(TemporalityNumber(0))
            }
        }

        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A number, or a text that is one. It is read from its own characters: serde_json's reading of numbers is off by a bit
/// now and then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Double(pub(super) f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        let value = match text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            digits => {
                // Rust reads words as numbers, which JSON does not.
                let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                plain.then(|| digits.parse().ok()).flatten()
            }
        };
        value.map(Double).ok_or_else(|| {
            let shown: String = raw.chars().take(40).collect();
            de::Error::custom(format!("{shown} is not a number"))
        })
    }
}
