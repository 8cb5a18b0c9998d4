//! The namespace endpoints of v1 (`NamespaceController`) and v2 (`NamespaceControllerV2`).

use std::sync::Arc;

use http::StatusCode;
use nacos_core::{
    error::ErrorCode,
    web::{self, Call, Fault},
};

use super::{Answer, ConsoleState};
use crate::namespace::NamespaceError;

pub(super) async fn v1_list(state: Arc<ConsoleState>, _: Call) -> Answer {
    Ok(web::rest_result(200, None, state.namespaces.list().await?))
}

pub(super) async fn v1_show(state: Arc<ConsoleState>, call: Call) -> Answer {
    let id = call.required("namespaceId")?;
    match state.namespaces.get(&id).await? {
        Some(namespace) => Ok(web::json(&namespace)),
        // v1 has no 404 for it: the controller's exception ends in the handler for all others.
        None => Err(Fault::Refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("namespaceId [ {} ] not exist", html_escaped(&id)),
        )),
    }
}

pub(super) async fn v1_exists(state: Arc<ConsoleState>, call: Call) -> Answer {
    let id = call.required("customNamespaceId")?;
    Ok(web::json(&(!id.trim().is_empty() && state.namespaces.exists(&id).await?)))
}

pub(super) async fn v1_create(state: Arc<ConsoleState>, call: Call) -> Answer {
    let (id, name) = (call.required("customNamespaceId")?, call.required("namespaceName")?);
    let created = state.namespaces.create(&id, &name, call.param("namespaceDesc").as_deref()).await;
    v1_done(created.map(drop), "creation")
}

pub(super) async fn v1_update(state: Arc<ConsoleState>, call: Call) -> Answer {
    let (id, name) = (call.required("namespace")?, call.required("namespaceShowName")?);
    let updated = state.namespaces.update(&id, &name, call.param("namespaceDesc").as_deref()).await;
    v1_done(updated, "update")
}

pub(super) async fn v1_delete(state: Arc<ConsoleState>, call: Call) -> Answer {
    state.namespaces.delete(&call.required("namespaceId")?).await?;
    Ok(web::json(&true))
}

pub(super) async fn v2_list(state: Arc<ConsoleState>, _: Call) -> Answer {
    Ok(web::result(state.namespaces.list().await?))
}

pub(super) async fn v2_show(state: Arc<ConsoleState>, call: Call) -> Answer {
    let id = call.required("namespaceId")?;
    match state.namespaces.get(&id).await? {
        Some(namespace) => Ok(web::result(namespace)),
        None => Err(Fault::Coded(
            StatusCode::NOT_FOUND,
            ErrorCode::NamespaceNotExist,
            format!("namespaceId [ {id} ] not exist"),
        )),
    }
}

pub(super) async fn v2_create(state: Arc<ConsoleState>, call: Call) -> Answer {
    let (id, name) = (form_field(&call, "namespaceId")?, form_field(&call, "namespaceName")?);
    let created = state.namespaces.create(&id, &name, call.param("namespaceDesc").as_deref()).await;
    created.map_err(|error| fault(error, "creation"))?;
    Ok(web::result(true))
}

pub(super) async fn v2_update(state: Arc<ConsoleState>, call: Call) -> Answer {
    let (id, name) = (form_field(&call, "namespaceId")?, form_field(&call, "namespaceName")?);
    let updated = state.namespaces.update(&id, &name, call.param("namespaceDesc").as_deref()).await;
    updated.map_err(|error| fault(error, "update"))?;
    Ok(web::result(true))
}

pub(super) async fn v2_delete(state: Arc<ConsoleState>, call: Call) -> Answer {
    state.namespaces.delete(&call.required("namespaceId")?).await?;
    Ok(web::result(true))
}

/// A member of Nacos' `NamespaceForm`, which says what is missing in words of its own.
fn form_field<'a>(call: &'a Call, name: &str) -> Result<std::borrow::Cow<'a, str>, Fault> {
    call.param(name).ok_or_else(|| {
        Fault::Coded(
            StatusCode::BAD_REQUEST,
            ErrorCode::ParameterMissing,
            format!("required parameter '{name}' is missing"),
        )
    })
}

/// v1 answers a refusal with `false`, and only what the database would not take with an error.
fn v1_done(outcome: Result<(), NamespaceError>, doing: &str) -> Answer {
    match outcome {
        Ok(()) => Ok(web::json(&true)),
        Err(error @ (NamespaceError::Storage(_) | NamespaceError::TooLong(..))) => Err(fault(error, doing)),
        Err(_) => Ok(web::json(&false)),
    }
}

fn fault(error: NamespaceError, doing: &str) -> Fault {
    match error {
        NamespaceError::Storage(error) => error.into(),
        // Nacos leaves this rule to the columns of its database, and answers when they refuse the row.
        NamespaceError::TooLong(..) => {
            tracing::debug!(%error, "namespace refused");
            Fault::Coded(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorCode::ServerError,
                format!("errCode: 500, errMsg: Namespace {doing} failed "),
            )
        }
        refused => Fault::Coded(StatusCode::BAD_REQUEST, ErrorCode::IllegalNamespace, refused.to_string()),
    }
}

/// Escapes as Spring's `HtmlUtils`, through which v1 sends the texts of unforeseen exceptions.
fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
