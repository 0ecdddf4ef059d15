//! Good rows, made one at a time.

use super::Sample;
use super::catalogue::SampleType;
use super::rng::Rng;
use serde_json::{Map, Value, json};
use vermilion_registry::codes::{citizen_id, division, food_permit, identifier::Identifier, uscc};

/// The city's own code: a unit of the city issues in any district.
const CITY: &str = "440300";
/// Serials of rows count up from here.
pub(super) const FIRST_SERIAL: u64 = 2_026_000_000;
/// Sequence numbers, birthdays of twenty years, and districts: how many persons there can be.
const SEQUENCES: u64 = 999;
const BIRTHDAYS: u64 = 20 * 12 * 28;
const DISTRICTS: u64 = 9;
const PERSONS: u64 = SEQUENCES * BIRTHDAYS * DISTRICTS;
/// Prime to [`PERSONS`], so that multiplying by it modulo that number only changes the order.
const STRIDE: u64 = 15_485_863;

/// The rows of a seed: see [`Sample::licences`].
pub struct Licences<'a> {
    maker: Maker<'a>,
    first_serial: u64,
    next: u64,
    count: u64,
}

impl<'a> Licences<'a> {
    pub(super) fn new(sample: &'a Sample, seed: u64, first_serial: u64, count: u64) -> Self {
        Self { maker: Maker::new(sample, seed), first_serial, next: 0, count }
    }
}

impl Iterator for Licences<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.next == self.count {
            return None;
        }
        let row = self.maker.row(self.next, &(self.first_serial + self.next).to_string(), true)?;
        self.next += 1;
        Some(row.to_string())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.count - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// Makes rows. Its methods give `None` only if the embedded data allow no row.
pub(super) struct Maker<'a> {
    pub sample: &'a Sample,
    pub rng: Rng,
    /// Where the order of the holders with personal numbers begins.
    offset: u64,
}

impl<'a> Maker<'a> {
    pub fn new(sample: &'a Sample, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let offset = rng.range(0, PERSONS - 1);
        Self { sample, rng, offset }
    }

    /// Row `n`, with a serial that is used unless the type's numbers are the holders' own. Those
    /// are then persons by `n`, no two alike among the first 60 million.
    pub fn row(&mut self, n: u64, serial: &str, stock: bool) -> Option<Value> {
        let of = self.rng.pick(&self.sample.types)?;
        let mut holders = Vec::new();
        for _ in 0..of.holders {
            holders.push(if of.personal_identifier {
                self.person((n % PERSONS * STRIDE + self.offset) % PERSONS)?
            } else {
                self.holder(&of.holder_code_type)?
            });
        }
        let holder_code = holders.first()?["code"].as_str()?.to_owned();
        let serial = if of.personal_identifier { &holder_code } else { serial };
        let stock = stock && self.rng.one_in(10);
        let version = if stock { *self.rng.pick(&[2, 3, 7])? } else { 1 };
        let (year, day) = (self.rng.range(2023, 2025), self.day());
        let issued = format!("{year}-{day}");
        let area = if of.issuer.district == CITY { self.district()? } else { &of.issuer.district };
        Some(json!({
            "origin": if stock { "stock" } else { "new" },
            "certificateIdentifier": Identifier::build(&of.code, &of.issuer.uscc, serial, version).ok()?.as_str(),
            "certificateTypeCode": of.code,
            "certificateName": of.name,
            "certificateNumber": serial,
            "certificateHolder": holders,
            "certificateIssuingAuthorityName": of.issuer.name,
            "certificateIssuingAuthorityCode": of.issuer.uscc,
            "certificateIssuedDate": issued,
            "certificateEffectiveDate": issued,
            "certificateExpiringDate": of.validity_years.map_or("长期".to_owned(), |years| format!("{}-{day}", year + years)),
            "certificateAreaCode": area,
            "data": self.data(of, &holder_code)?,
        }))
    }

    fn data(&mut self, of: &SampleType, holder_code: &str) -> Option<Map<String, Value>> {
        let mut data = Map::new();
        for (name, spec, required) in &of.fields {
            if *required || self.rng.one_in(2) {
                data.insert(name.clone(), self.value(name, spec, &of.holder_code_type, holder_code)?);
            }
        }
        Some(data)
    }

    fn value(&mut self, name: &str, spec: &Map<String, Value>, code_type: &str, holder_code: &str) -> Option<Value> {
        if name.ends_with("Id") || name == "idNumber" {
            if code_type == "111" {
                return Some(Value::from(holder_code));
            }
            let n = self.rng.range(0, PERSONS - 1);
            return Some(self.person(n)?["code"].take());
        }
        if name == "permitNumber" {
            let (kind, serial) = (self.rng.range(1, 3), self.rng.range(1, 999_999));
            return food_permit::build(u8::try_from(kind).ok()?, self.district()?, u32::try_from(serial).ok()?).map(Value::from);
        }
        if let Some(choices) = spec.get("enum").and_then(Value::as_array) {
            return self.rng.pick(choices).cloned();
        }
        Some(match spec.get("type").and_then(Value::as_str)? {
            "integer" => Value::from(self.rng.range(1, 90_000)),
            // Hundredths, read as JSON reads them.
            "number" => serde_json::from_str(&format!("{}.{:02}", self.rng.range(30, 299), self.rng.range(0, 99))).ok()?,
            "array" => {
                let items = ["预包装食品销售", "散装食品销售", "热食类食品制售", "冷食类食品制售"];
                let first = self.rng.range(0, 3);
                (first..=first + self.rng.range(0, 2)).filter_map(|n| items.get(usize::try_from(n % 4).ok()?)).copied().collect()
            }
            _ if spec.get("format").is_some_and(|f| f == "date") => Value::from(format!("{}-{}", self.rng.range(2001, 2025), self.day())),
            _ => Value::from(format!("样例{name}{}", self.rng.range(1, 99_999))),
        })
    }

    /// Month and day; the 28th is in every month.
    fn day(&mut self) -> String {
        format!("{:02}-{:02}", self.rng.range(1, 12), self.rng.range(1, 28))
    }

    fn district(&mut self) -> Option<&'static str> {
        self.rng.pick(&division::SHENZHEN[1..]).map(|d| d.code)
    }

    fn holder(&mut self, code_type: &str) -> Option<Value> {
        if code_type == "111" {
            let n = self.rng.range(0, PERSONS - 1);
            return self.person(n);
        }
        let code = uscc::build("91", self.district()?, &format!("MAX{:05}", self.rng.range(0, 99_999)))?;
        Some(json!({"name": format!("样例企业{:05}有限公司", self.rng.range(1, 99_999)), "code": code, "codeType": "001"}))
    }

    /// Person `n` of [`PERSONS`], under some name.
    fn person(&mut self, n: u64) -> Option<Value> {
        let (sequence, n) = (n % SEQUENCES + 1, n / SEQUENCES);
        let (birthday, n) = (n % BIRTHDAYS, n / BIRTHDAYS);
        let birth = format!("{}{:02}{:02}", 1880 + birthday / (12 * 28), birthday / 28 % 12 + 1, birthday % 28 + 1);
        let district = division::SHENZHEN[1..].get(usize::try_from(n).ok()?)?.code;
        let code = citizen_id::build(district, &birth, u16::try_from(sequence).ok()?)?;
        Some(json!({"name": format!("样例人{:05}", self.rng.range(1, 99_999)), "code": code, "codeType": "111"}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stride_visits_every_person() {
        let (mut a, mut b) = (PERSONS, STRIDE);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        assert_eq!(a, 1);
    }
}
