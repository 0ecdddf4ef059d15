//! Figures of the authority for a month (001-25: 每月10日前): certificates issued, renewed, revoked,
//! suspended and restored, by the holder's unit and by the issuing certificate. Each record that changes
//! a certificate counts it; so every node has the same figures, the auditor's replay checks them,
//! and nobody types them in.
//!
//! A month is the city's. A certificate that a ban or a retirement revokes counts in the month of that
//! record.

use crate::codes::dates;
use crate::decision::{Change, View};
use crate::fatal::Fatal;
use crate::keys;
use crate::value;
use std::collections::BTreeMap;
use vermilion_proto::{CertificateFigures, CertificateState};

/// What happened to a certificate.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Issued,
    Renewed,
    Revoked,
    Suspended,
    Restored,
}

/// The month of a day, as year and month in six digits; 0 beyond the calendar.
#[must_use]
pub fn month_of(day: u32) -> u32 {
    dates::from_day(day).and_then(|d| Some(u32::try_from(d.year()).ok()? * 100 + u32::from(u8::from(d.month())))).unwrap_or_default()
}

/// The month of exactly `YYYY-MM`.
#[must_use]
pub fn parse_month(text: &str) -> Option<u32> {
    let date = dates::parse(&format!("{text}-01"))?;
    dates::to_day(date).map(month_of)
}

/// The changes with which a record counts what it does.
pub(super) fn counted<'a>(view: &View<'_>, events: impl Iterator<Item = (Event, &'a CertificateState)>) -> Result<Vec<Change>, Fatal> {
    let month = month_of(view.today);
    let mut figures: BTreeMap<Vec<u8>, CertificateFigures> = BTreeMap::new();
    for (event, certificate) in events {
        let unit = certificate.holder.as_ref().map(|h| h.unit.clone()).unwrap_or_default();
        let key = keys::figures(month, &certificate.issuer, &unit);
        if !figures.contains_key(&key) {
            let begun = CertificateFigures { month, authority: certificate.issuer.clone(), unit, ..CertificateFigures::default() };
            let stored: Option<CertificateFigures> = value::get(view.kv, &key)?;
            figures.insert(key.clone(), stored.unwrap_or(begun));
        }
        let Some(of) = figures.get_mut(&key) else { continue };
        let counter = match event {
            Event::Issued => &mut of.issued,
            Event::Renewed => &mut of.renewed,
            Event::Revoked => &mut of.revoked,
            Event::Suspended => &mut of.suspended,
            Event::Restored => &mut of.restored,
        };
        *counter += 1;
    }
    Ok(figures.into_values().map(Change::Figures).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        assert_eq!(parse_month("2026-10"), Some(202_610));
        assert_eq!(dates::parse("2026-12-31").and_then(dates::to_day).map(month_of), Some(202_612));
        for bad in ["2026", "2026-13", "2026-1", "202610", "2026-10-01", ""] {
            assert_eq!(parse_month(bad), None, "{bad}");
        }
        assert_eq!(month_of(u32::MAX), 0);
    }
}
