//! Lists: newest first, a page at a time.

use serde_json::{Value, json};

use super::{NOBODY, map, provider, refused, register};
use crate::support::{
    client::Response,
    gateway::{Admin, TestGateway},
};

/// Five items in each list; answers the addresses of the lists.
async fn fill_lists(admin: &Admin) -> [&'static str; 3] {
    for number in 1..=5 {
        let name = format!("number {number}");
        let provider = register(admin, provider(&name)).await;
        map(admin, json!({"name": name, "provider_id": provider})).await;
        admin.post("/admin/keys", json!({"name": name})).await;
    }
    ["/admin/providers", "/admin/models", "/admin/keys"]
}

fn names(response: &Response) -> Vec<String> {
    assert_eq!(response.status(), 200, "{}", response.text());
    let items = response.json();
    let items = items.as_array().unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

fn next_page(response: &Response) -> Option<String> {
    let link = response.header("link")?;
    let address = link.strip_suffix(">; rel=\"next\"");
    Some(address.unwrap().strip_prefix('<').unwrap().to_owned())
}

fn numbers(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|n| format!("number {n}")).collect()
}

#[actix_rt::test]
async fn a_list_is_an_array_newest_first() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for list in ["/admin/providers", "/admin/models", "/admin/keys"] {
        assert_eq!(admin.get(list).await.json(), json!([]));
    }
    for list in fill_lists(&admin).await {
        let response = admin.get(list).await;
        assert_eq!(names(&response), numbers(&[5, 4, 3, 2, 1]), "{list}");
        assert_eq!(next_page(&response), None);
    }
}

#[actix_rt::test]
async fn each_page_leads_to_the_next_until_the_last() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for list in fill_lists(&admin).await {
        let first = admin.get(&format!("{list}?limit=2")).await;
        assert_eq!(names(&first), numbers(&[5, 4]), "{list}");
        let next = next_page(&first).unwrap();
        assert!(next.starts_with(&format!("{list}?")), "{next}");

        let second = admin.get(&next).await;
        assert_eq!(names(&second), numbers(&[3, 2]), "{list}");

        let third = admin.get(&next_page(&second).unwrap()).await;
        assert_eq!(names(&third), numbers(&[1]), "{list}");
        assert_eq!(next_page(&third), None, "{list}");

        let exact = admin.get(&format!("{list}?limit=5")).await;
        assert_eq!(next_page(&exact), None, "{list}");
    }
}

#[actix_rt::test]
async fn a_page_may_begin_after_an_item_that_is_gone() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    fill_lists(&admin).await;
    let models = admin.get("/admin/models?limit=2").await;
    let last = models.json()[1]["id"].as_str().unwrap().to_owned();
    admin.delete(&format!("/admin/models/{last}")).await;
    let next = admin.get(&next_page(&models).unwrap()).await;
    assert_eq!(names(&next), numbers(&[3, 2]));
}

#[actix_rt::test]
async fn items_in_a_list_are_as_they_are_alone() {
    let gateway = TestGateway::start().await;
    let admin = gateway.admin();
    for list in fill_lists(&admin).await {
        let items: Vec<Value> = serde_json::from_value(admin.get(list).await.json()).unwrap();
        for item in items {
            let id = item["id"].as_str().unwrap();
            let alone = admin.get(&format!("{list}/{id}")).await;
            assert_eq!(alone.status(), 200);
            assert_eq!(alone.json(), item);
        }
    }
}

#[actix_rt::test]
async fn a_query_that_cannot_be_meant_is_refused_by_name() {
    let gateway = TestGateway::start().await;
    for list in ["/admin/providers", "/admin/models", "/admin/keys"] {
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=all", "limit"),
            ("limit=2&limit=3", "limit"),
            ("after=", "after"),
            ("after=last", "after"),
            (&format!("after=sk-{NOBODY}"), "after"),
        ] {
            let response = gateway.admin().get(&format!("{list}?{query}")).await;
            let message = refused(&response, 400, "invalid_value", Some(param));
            assert!(message.contains("must"), "{message}");
            assert!(!message.contains(NOBODY), "{message}");
        }
        let response = gateway.admin().get(&format!("{list}?page=2")).await;
        let message = refused(&response, 400, "unknown_parameter", Some("page"));
        assert!(message.contains("`limit` and `after`"), "{message}");

        let response = gateway
            .admin()
            .get(&format!("{list}?limit=1000&after={NOBODY}"))
            .await;
        assert_eq!(response.status(), 200);
    }
}
