//! Adding fields to a receipt: disclosures that its holder has, each checked against the signed digests.

use crate::use_licence::check_fields;
use serde_json::Value;
use std::collections::BTreeSet;
use vermilion_proto::{LicenceItem, Receipt, canonical};

/// The largest file of disclosures that is read.
pub const MAX_DISCLOSURES: u64 = 1 << 20;

/// The disclosures in a text: one a line, or JSON that holds them: a list, or an answer of
/// `vermilion use --json`, whose licences have lists named `disclosures`.
pub fn read(text: &str) -> Result<Vec<String>, String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect());
    }
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    gather(&value, &mut out);
    Ok(out)
}

fn gather(value: &Value, out: &mut Vec<String>) {
    let texts = |list: &[Value], out: &mut Vec<String>| out.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
    match value {
        Value::Array(list) => texts(list, out),
        Value::Object(of) => {
            if let Some(Value::Array(list)) = of.get("disclosures") {
                texts(list, out);
            }
            if let Some(Value::Array(licences)) = of.get("licences") {
                licences.iter().filter(|licence| licence.is_object()).for_each(|licence| gather(licence, out));
            }
        }
        _ => {}
    }
}

/// Adds to a receipt those of the disclosures that are of its licence and, if names are given, of those
/// fields. What is there already stays. Says how many were added.
pub fn add(receipt: &mut Receipt, disclosures: &[String], names: &[String]) -> Result<usize, String> {
    if receipt.item.is_empty() {
        return Err("the receipt is of no licence".into());
    }
    if disclosures.is_empty() {
        return Err("the file holds no fields: it wants disclosures, one a line, or the answer of `vermilion use --json` alone".into());
    }
    let item: LicenceItem = canonical(&receipt.item).map_err(|e| e.to_string())?;
    // A file may hold several licences' fields: those of others are passed over.
    let name_of = |disclosure: &String| Some(check_fields(&item, std::slice::from_ref(disclosure)).ok()?.into_iter().next()?.name);
    let here: Vec<(&String, String)> = disclosures.iter().filter_map(|d| Some((d, name_of(d)?))).collect();
    let known: BTreeSet<String> = here.iter().map(|(_, name)| name.clone()).chain(receipt.disclosures.iter().filter_map(name_of)).collect();
    if let Some(name) = names.iter().find(|name| !known.is_empty() && !known.contains(*name)) {
        let known: Vec<String> = known.into_iter().collect();
        return Err(format!("there is no field {name} of this licence, but: {}", known.join(", ")));
    }
    let mut added = 0;
    for (disclosure, name) in here {
        if (names.is_empty() || names.contains(&name)) && !receipt.disclosures.contains(disclosure) {
            receipt.disclosures.push(disclosure.clone());
            added += 1;
        }
    }
    if added == 0 {
        return Err("none of the fields is of this licence, or all are there already".into());
    }
    Ok(added)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_proto::Message as _;
    use vermilion_registry::content::Disclosure;

    #[test]
    fn texts_and_answers_are_read() {
        let list = vec!["ab".to_owned(), "cd".to_owned()];
        for text in ["ab\n\n cd \n", "[\"ab\", \"cd\"]", "{\"licences\":[{\"disclosures\":[\"ab\"]},{\"disclosures\":[\"cd\"]}]}"] {
            assert_eq!(read(text), Ok(list.clone()), "{text}");
        }
        assert!(read("[").is_err());
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn only_fields_of_the_licence_are_added_and_only_once() {
        let field = |name: &str| Disclosure::new(&[9; 16], name, Value::from("12")).unwrap();
        let (area, name, other) = (field("area"), field("name"), field("other"));
        let mut field_digests = [*area.digest(), *name.digest()];
        field_digests.sort_unstable();
        let item = LicenceItem { format_version: 1, field_digests: field_digests.concat(), ..Default::default() };
        let mut receipt = Receipt { item: item.encode_to_vec(), ..Default::default() };
        let all: Vec<String> = [&other, &area, &name].map(|d| d.encoded().to_owned()).to_vec();
        assert_eq!(add(&mut receipt, &all, &["area".to_owned()]), Ok(1));
        assert_eq!(receipt.disclosures, [area.encoded()]);
        let misspelt = add(&mut receipt, &all, &["name".to_owned(), "nmae".to_owned()]).unwrap_err();
        assert!(misspelt.contains("nmae") && misspelt.ends_with("area, name"), "{misspelt}");
        assert_eq!(receipt.disclosures.len(), 1, "nothing is added of what is asked for half");
        assert_eq!(add(&mut receipt, &all, &[]), Ok(1));
        assert!(add(&mut receipt, &all, &[]).is_err());
        assert!(add(&mut Receipt::default(), &all, &[]).is_err());
    }
}
