//! The description of the REST interface (OpenAPI 3.1), put together from what stands beside each answer.

use crate::{catalogue, rest, revoked, tiles};
use axum::http::StatusCode;
use utoipa::openapi::{OpenApi as Description, RefOr, Response};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "Vermilion 朱印", description = "The ledger under a city's electronic licences: public questions.", version = "1"),
    paths(
        rest::licence_status,
        rest::licence_status_asked,
        catalogue::types,
        catalogue::one_type,
        rest::record,
        rest::receipt,
        rest::checkpoint,
        rest::consistency,
        tiles::checkpoint,
        tiles::tile,
        rest::health,
        rest::ready,
        rest::metrics,
        revoked::crl,
        revoked::ocsp_answer
    ),
    components(schemas(
        rest::Status,
        rest::StatusQuestion,
        rest::Record,
        rest::Consistency,
        rest::Problem,
        rest::Health,
        catalogue::TypeEntry,
        catalogue::TypeDetails
    )),
    modifiers(&Described)
)]
struct Api;

/// What any question may be answered with besides.
const ALWAYS: [StatusCode; 3] = [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];

/// Adds what goes for all answers: the codes that any of them may have, and that each is described, which OpenAPI wants.
struct Described;

impl Modify for Described {
    fn modify(&self, api: &mut Description) {
        let operations = api.paths.paths.values_mut().flat_map(|path| [&mut path.get, &mut path.post]).flatten();
        for operation in operations {
            let responses = &mut operation.responses.responses;
            for code in ALWAYS {
                responses.entry(code.as_str().to_owned()).or_insert_with(|| Response::default().into());
            }
            for (code, response) in responses {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    response.description = said(code).to_owned();
                }
            }
        }
    }
}

/// What an answer of this code says.
fn said(code: &str) -> &'static str {
    match code {
        "200" => "The answer",
        "400" => "The question is not of the form that is read here",
        "403" => "Whoever asks may not know it",
        "404" => "It is not here",
        "429" => "Too many questions from this address: ask again after Retry-After",
        "503" => "The node cannot say now, or does not serve: ask again, or another node",
        _ => "The node failed",
    }
}

/// The description of the interface.
#[must_use]
pub fn description() -> Description {
    Api::openapi()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_answer_is_described_and_every_question_has_a_name_of_its_own() {
        let api = serde_json::to_value(description()).unwrap_or_default();
        let mut names = BTreeSet::new();
        let operations = || api["paths"].as_object().into_iter().flatten().flat_map(|(_, path)| path.as_object().into_iter().flatten());
        for (verb, operation) in operations() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name), "{verb} {name} is not the only one");
            for (code, response) in operation["responses"].as_object().into_iter().flatten() {
                assert!(response["description"].as_str().is_some_and(|said| !said.is_empty()), "{name} {code}");
            }
            for code in ["200", "429", "500", "503"] {
                assert!(operation["responses"][code].is_object(), "{name} may answer {code}");
            }
        }
        assert!(names.len() > 14, "{names:?}");
    }
}
