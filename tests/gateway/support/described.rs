//! What the API's description says of an operation, so that whatever a test is answered can be
//! compared with it.

use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    client::{Request, Response},
    gateway::TestGateway,
};

/// Asked of a gateway of its own, so that no test finds a request in its gateway's records that it
/// didn't make.
static DESCRIPTION: OnceCell<Value> = OnceCell::const_new();

async fn description() -> &'static Value {
    let ask = || async {
        let gateway = TestGateway::start().await;
        let describe = Request::get("/openapi.json");
        describe.send_to(gateway.address()).await.json()
    };
    DESCRIPTION.get_or_init(ask).await
}

/// Checks that an answer of the gateway's own is described: its status, and the code of a refusal. What a
/// provider answers has no code of ours, or is like one.
pub(crate) async fn is_described(request: &Request, response: &Response) {
    let description = description().await;
    let (method, path) = request.method_and_path();
    let Some(operation) = operation(description, method, path) else {
        // That nothing else is served has a test of its own.
        return;
    };
    let status = response.status().to_string();
    let described = &operation["responses"][&status];
    let answered = format!("{method} {path}: {status}");
    // Where a provider may answer, any status may come.
    let others = operation["responses"].get("default");
    match code(response) {
        Some(code) if others.is_none() || is_ours(description, &code) => {
            let examples = &described["content"]["application/json"]["examples"];
            assert!(
                examples.get(&code).is_some(),
                "{answered} {code} is not described"
            );
        }
        _ => {
            assert!(
                described.is_object() || others.is_some(),
                "{answered} is not described"
            );
        }
    }
}

fn operation<'a>(description: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let method = match method {
        "HEAD" => "get".to_owned(),
        other => other.to_lowercase(),
    };
    let mut paths = description["paths"].as_object()?.iter();
    let (_, item) = paths.find(|(template, _)| fits(template, path))?;
    item.get(method)
}

/// A parameter is one segment, but for the name of a model, which is all that is left.
fn fits(template: &str, path: &str) -> bool {
    let mut path = path.split('/');
    for segment in template.split('/') {
        match (segment, path.next()) {
            (_, Some("")) if !segment.is_empty() => return false,
            ("{model}", Some(_)) => return true,
            (segment, Some(_)) if segment.starts_with('{') => {}
            (segment, Some(given)) if segment == given => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

fn code(response: &Response) -> Option<String> {
    if response.status() < 400 {
        return None;
    }
    let body: Value = serde_json::from_slice(&response.body()).ok()?;
    Some(body["error"]["code"].as_str()?.to_owned())
}

/// Whether the gateway has a refusal of this name at all.
fn is_ours(description: &Value, code: &str) -> bool {
    let paths = description["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, item)| item.as_object().into_iter().flatten());
    let mut responses =
        operations.flat_map(|(_, o)| o["responses"].as_object().into_iter().flatten());
    responses.any(|(_, response)| {
        let examples = &response["content"]["application/json"]["examples"];
        examples.get(code).is_some()
    })
}
