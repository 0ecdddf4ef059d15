//! `vermilion unit …`

use super::Context;
use super::output::table;
use super::why::Why;
use crate::error::{ClientError, Exit};
use crate::files::first_line;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use vermilion_proto::{Unit, UnitState};
use vermilion_registry::reason::Reason;
use zeroize::Zeroizing;

#[derive(Subcommand, Debug)]
pub enum UnitVerb {
    /// Register a unit, signed by a managing unit's approve, operate and verify
    #[command(after_help = "Example:\n  \
        vermilion unit register --uscc 11440304MB0X010624 --name 样例区民政局 \\\n      \
        --area 440304 --level district --role issuing-unit")]
    Register(Register),
    /// Suspend a unit: it can sign nothing until it is restored
    #[command(after_help = "Example:\n  \
        vermilion unit suspend 11440304MB0X010624 --reason inspection --basis 002-6")]
    Suspend(Named),
    /// Restore a suspended unit
    #[command(after_help = "Example:\n  \
        vermilion unit restore 11440304MB0X010624 --reason remedied --basis 002-6\n\n\
        What the city suspended, the city restores.")]
    Restore(Named),
    /// Show one unit
    #[command(after_help = "Example:\n  vermilion unit show 11440304MB0X010624")]
    Show {
        /// USCC of the unit
        uscc: String,
    },
    /// List all units
    #[command(after_help = "Example:\n  vermilion unit list --json")]
    List,
}

#[derive(Args, Debug)]
pub struct Register {
    /// Its USCC
    #[arg(long)]
    uscc: String,
    /// Its name in Chinese
    #[arg(long)]
    name: String,
    /// Its name in English
    #[arg(long, default_value = "")]
    name_en: String,
    /// Its area: GB/T 2260, or a functional area's own code
    #[arg(long)]
    area: String,
    /// city or district
    #[arg(long, value_parser = ["city", "district"])]
    level: String,
    /// A role: managing-unit-city, managing-unit-district, issuing-unit, using-unit, auditor, assessor (tests nodes and systems); may
    /// be given several times
    #[arg(long = "role", required = true, value_delimiter = ',')]
    roles: Vec<String>,
    /// The responsible department
    #[arg(long, default_value = "")]
    department: String,
    /// The responsible leader's name: it goes sealed into the vault
    #[arg(long, value_name = "NAME")]
    leader: Option<String>,
    /// A file whose first line is that name (`-`: standard input): a command line can be seen by others, and is kept by shells
    #[arg(long, value_name = "FILE", conflicts_with = "leader")]
    leader_file: Option<PathBuf>,
    /// The managing unit that acts; the first whose keys are here if not given
    #[arg(long, value_name = "USCC")]
    by: Option<String>,
}

#[derive(Args, Debug)]
pub struct Named {
    /// USCC of the unit
    uscc: String,
    #[command(flatten)]
    why: Why,
    /// The managing unit that acts; the first whose keys are here if not given
    #[arg(long, value_name = "USCC")]
    by: Option<String>,
}

pub async fn run(context: &Context, verb: UnitVerb) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let by = async |by: Option<String>| match by {
        Some(by) => Ok(by),
        None => client.manager().await,
    };
    match verb {
        UnitVerb::Register(args) => {
            let unit = Unit {
                uscc: args.uscc,
                name_zh: args.name,
                name_en: args.name_en,
                area: args.area,
                level: args.level,
                roles: args.roles,
                responsible_department: args.department,
                ..Unit::default()
            };
            let leader = match (args.leader, args.leader_file) {
                (None, Some(file)) => Some(first_line(&file)?),
                (said, _) => said.map(Zeroizing::new),
            };
            let leader = leader.as_ref().map(|name| name.as_str());
            let recorded = client.register_unit(&by(args.by).await?, unit, leader).await?;
            Ok(context.out.recorded("已登记 registered", &recorded))
        }
        UnitVerb::Suspend(args) => {
            let recorded = client.change_unit(&by(args.by).await?, &args.uscc, true, &args.why.grounds()?).await?;
            Ok(context.out.recorded("已暂停 suspended", &recorded))
        }
        UnitVerb::Restore(args) => {
            let recorded = client.change_unit(&by(args.by).await?, &args.uscc, false, &args.why.grounds()?).await?;
            Ok(context.out.recorded("已恢复 restored", &recorded))
        }
        UnitVerb::Show { uscc } => {
            let state = client.unit(&uscc).await?.ok_or(Reason::UnknownUnit)?;
            context.out.answer(&unit_json(&state), || units_table(std::slice::from_ref(&state)));
            Ok(Exit::Yes)
        }
        UnitVerb::List => {
            let states = client.units().await?;
            context.out.answer(&Value::Array(states.iter().map(unit_json).collect()), || units_table(&states));
            Ok(Exit::Yes)
        }
    }
}

fn unit_json(state: &UnitState) -> Value {
    let unit = state.unit.clone().unwrap_or_default();
    json!({
        "uscc": unit.uscc, "name": unit.name_zh, "name_en": unit.name_en, "area": unit.area, "level": unit.level,
        "roles": unit.roles, "department": unit.responsible_department, "suspended": state.suspended,
        "suspended_by": state.suspended_by, "registered_seq": state.registered_seq,
    })
}

fn units_table(states: &[UnitState]) -> String {
    let row = |s: &UnitState| {
        let unit = s.unit.clone().unwrap_or_default();
        let state = if s.suspended { "暂停 suspended" } else { "正常 active" };
        vec![unit.uscc, unit.name_zh, unit.area, unit.roles.join(","), state.to_owned()]
    };
    table(&["USCC", "名称 name", "区域 area", "职责 roles", "状态 state"], &states.iter().map(row).collect::<Vec<_>>())
}
