//! `vermilion type issuers`

use super::Context;
use super::output::recorded_json;
use crate::error::{ClientError, Exit};
use crate::manage::Published;
use crate::visible::one_line;
use clap::Args;
use serde_json::{Value, json};
use vermilion_proto::Implementation;
use vermilion_registry::codes::division;
use vermilion_registry::codes::uscc::{self, UsccAnswer};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    vermilion type issuers 11440300MB0X00019K003 --add 11440305MB0X01046W\n  \
    vermilion type issuers 11440300MB0X00019K003 \\\n      \
    --add 11440305MB0X01046W:440305 --remove 11440304MB0X010624\n\n\
    A district's managing unit says so of units of its district, the city's of\n\
    all. The type keeps its version.")]
pub struct IssuersArgs {
    /// The type's code
    code: String,
    /// Who issues it from now on, and for which area; for its own if none is given
    #[arg(long, value_name = "USCC[:AREA]", required_unless_present = "remove", value_parser = implementation)]
    add: Vec<Implementation>,
    /// Who issues it no more
    #[arg(long, value_name = "USCC")]
    remove: Vec<String>,
    /// The managing unit that acts; the first whose keys are here if not given
    #[arg(long, value_name = "USCC")]
    by: Option<String>,
}

/// Reads a unit and the area for which it issues.
fn implementation(text: &str) -> Result<Implementation, String> {
    let (unit, area) = text.split_once(':').map_or((text, None), |(unit, area)| (unit, Some(area)));
    if uscc::check(unit) == UsccAnswer::Invalid {
        return Err("the unit is no USCC".into());
    }
    if area.is_some_and(|area| division::area(area).is_none()) {
        return Err("the area is no division's code".into());
    }
    Ok(Implementation { unit: unit.into(), area: area.unwrap_or_default().into(), ..Implementation::default() })
}

pub async fn run(context: &Context, args: IssuersArgs) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let by = match args.by {
        Some(by) => by,
        None => client.manager().await?,
    };
    let code = one_line(&args.code).into_owned();
    let published = client.publish_implementation(&by, &args.code, args.add, args.remove).await;
    let (version, record, said) = match published.map_err(|error| error.about(&format!("type {code}")))? {
        Published::Now(version, recorded) => (version, recorded_json(&recorded), format!("已更新 changed: record {}", recorded.seq)),
        Published::Before(version) => (version, Value::Null, "未变 unchanged".to_owned()),
    };
    context.out.answer(&json!({ "code": args.code, "version": version, "record": record }), || format!("{code}  签发单位 issuers {said}"));
    Ok(Exit::Yes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_unit_and_its_area() {
        let read = |text: &str| implementation(text).map(|of| (of.unit, of.area));
        let unit = "11440305MB0X01046W";
        assert_eq!(read(unit).unwrap(), (unit.to_owned(), String::new()));
        assert_eq!(read(&format!("{unit}:440305")).unwrap(), (unit.to_owned(), "440305".to_owned()));
        for wrong in ["", ":440305", "11440305MB0X0104", &format!("{unit}:"), &format!("{unit}:440399")] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
