//! Code systems with check digits: what a code must look like, and whether its check holds.
//!
//! Everything here is a pure function of the text it is given. Nothing here knows whether a code
//! was ever assigned: a code that passes is well-formed, no more. None of these functions panics,
//! whatever it is given, and none echoes the code in an error.
//!
//! | module | standard |
//! |---|---|
//! | [`check`] | ISO 7064: MOD 37,36 · MOD 11,10 · MOD 11-2 |
//! | [`uscc`] | GB 32100-2015 unified social credit code, with GB 11714 inside |
//! | [`citizen_id`] | GB 11643-1999 citizen identity number |
//! | [`person_id`] | that, or the number of a foreigner's permanent residence card of 2023 |
//! | [`division`] | GB/T 2260 divisions, and codes of functional areas |
//! | [`identifier`] | GB/T 36904-2018 licence identifier |
//! | [`food_permit`] | food operation permit number (JY) |
//! | [`holder_code`] | GB/T 36903-2018 Annex A holder code types |
//! | [`dates`] | calendar dates as they stand in rows and in items |

pub mod check;
pub mod citizen_id;
pub mod dates;
pub mod division;
pub mod food_permit;
pub mod holder_code;
pub mod identifier;
pub mod person_id;
pub mod uscc;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod vectors;
