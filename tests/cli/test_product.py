import json
from pathlib import Path
from typing import Any

import pytest

from linkstead.registry.creation import PRODUCTS_PER_ACCOUNT_MAX
from tests.cli.processes import done, invoke, told


def created(*arguments: str | Path) -> dict[str, str]:
    fields: dict[str, str] = json.loads(done("product", "create", *arguments, "--json"))
    return fields


def shown(product_key: str, *arguments: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(done("product", "show", product_key, *arguments, "--json"))
    return fields


def test_the_first_product_makes_the_account_too() -> None:
    product = created("Lamp")
    assert (len(product["product_key"]), len(product["product_secret"])) == (11, 16)
    accounts = json.loads(done("account", "list", "--json"))
    assert [(account["name"], account["access_keys"]) for account in accounts] == [
        ("default", [product["access_key_id"]])
    ]
    assert product["access_key_secret"]
    assert "access_key_id" not in created("Second")


def test_a_product_that_is_refused_makes_no_account() -> None:
    told(1, "product", "create", "a")
    assert json.loads(done("account", "list", "--json")) == []


def test_a_product_is_carried_over_as_it_was() -> None:
    product = created(
        *("Lamp", "--product-key", "a1OldLamp00", "--product-secret", "OldSecret0000000", "--node-type", "1"),
        *("--data-format", "1", "--net-type", "ETHERNET", "--aliyun-commodity-code", "iothub_senior"),
        *("--description", "old lamp", "--dynamic-registration"),
    )
    assert product["product_key"] == "a1OldLamp00"
    fields = shown("a1OldLamp00", "--secret")
    assert len(fields.pop("account_id")) == 16
    assert fields == {
        "product_key": "a1OldLamp00",
        "product_name": "Lamp",
        "instance_id": "",
        "node_type": 1,
        "data_format": 1,
        "net_type": "ETHERNET",
        "aliyun_commodity_code": "iothub_senior",
        "description": "old lamp",
        "dynamic_registration": True,
        "devices": 0,
        "model_version": "",
        "product_secret": "OldSecret0000000",
        "services": [],
    }


def test_the_secret_is_shown_only_when_it_is_asked_for() -> None:
    product = created("Lamp")
    for command in (["show", product["product_key"]], ["list"]):
        assert product["product_secret"] not in done("product", *command) + done("product", *command, "--json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["abc"], "ProductName=abc; 4-30 of letters"),
        (["Lamp", "--product-key", "a b"], "ProductKey=a b; 1-20 of A-Z a-z 0-9"),
        (["Lamp", "--product-secret", "my secret"], "ProductSecret=***; 1-64 printable ASCII"),
        (["Lamp", "--node-type", "2"], "NodeType=2; 0 | 1"),
        (["Lamp", "--data-format", "x"], "DataFormat=x; 0 | 1"),
        (["Lamp", "--net-type", "TIN_CAN"], "NetType=TIN_CAN; WIFI | CELLULAR"),
        (["Lamp", "--aliyun-commodity-code", "x"], "AliyunCommodityCode=x; iothub_senior | iothub"),
        (["Lamp", "--description", "x" * 101], "Description=101; <= 100"),
    ],
)
def test_a_bad_value_is_told_with_its_rule(arguments: list[str], said: str) -> None:
    assert said in told(1, "product", "create", *arguments)


def test_what_is_there_already_is_refused() -> None:
    key = created("Lamp")["product_key"]
    assert "ProductName=Lamp" in told(1, "product", "create", "Lamp")
    assert f"ProductKey={key}; unique" in told(1, "product", "create", "Lamp2", "--product-key", key)


def test_products_are_listed_newest_first() -> None:
    keys = [created(name)["product_key"] for name in ("First", "Second")]
    listed = json.loads(done("product", "list", "--json"))
    assert [product["product_key"] for product in listed] == keys[::-1]
    assert listed[0] == {
        "product_key": keys[1],
        "product_name": "Second",
        "devices": 0,
        "account": "default",
        "instance": "",
    }


def test_with_several_accounts_one_has_to_be_named() -> None:
    done("account", "create", "first")
    done("account", "create", "second")
    assert "there are 2 accounts: name one with --account" in told(2, "product", "create", "Lamp")
    created("Lamp", "--account", "second")
    assert json.loads(done("product", "list", "--account", "first", "--json")) == []
    assert len(json.loads(done("product", "list", "--account", "second", "--json"))) == 1
    assert len(json.loads(done("product", "list", "--json"))) == 1
    assert "there is no account 'third'" in told(1, "product", "create", "Lamp", "--account", "third")


def test_a_product_goes_into_an_instance_of_its_account() -> None:
    done("account", "create", "shop")
    assert "the account has no instance iot-1" in told(1, "product", "create", "Lamp", "--instance", "iot-1")
    done("account", "add-instance", "shop", "iot-1")
    created("Lamp", "--instance", "iot-1")
    created("Lamp")
    assert [product["instance"] for product in json.loads(done("product", "list", "--json"))] == ["", "iot-1"]


def test_a_product_is_changed() -> None:
    key = created("Lamp", "--description", "old")["product_key"]
    assert done("product", "update", key, "--name", "Lantern") == f"{key} is changed\n"
    assert (shown(key)["product_name"], shown(key)["description"]) == ("Lantern", "old")
    done("product", "update", key, "--description", "", "--dynamic-registration")
    assert (shown(key)["description"], shown(key)["dynamic_registration"]) == ("", True)
    done("product", "update", key, "--no-dynamic-registration")
    assert shown(key)["dynamic_registration"] is False


def test_a_change_that_does_not_do_is_refused() -> None:
    key = created("Lamp")["product_key"]
    created("Taken")
    assert "say what to change" in told(2, "product", "update", key)
    assert "ProductName=Taken" in told(1, "product", "update", key, "--name", "Taken")
    assert "ProductName=a; 4-30" in told(1, "product", "update", key, "--name", "a")
    assert "Description=101" in told(1, "product", "update", key, "--description", "x" * 101)
    assert "there is no product gone" in told(1, "product", "update", "gone", "--name", "Lantern")
    assert "there is no product gone" in told(1, "product", "show", "gone")


def test_products_are_made_from_a_file() -> None:
    Path("products.csv").write_text(
        "product_name,product_key,product_secret,node_type,dynamic_registration,aliyun_commodity_code\n"
        "Lamp,a1Lamp00001,OldSecret0000000,,1,\n灯具,,,1,,iothub_senior\n"
    )
    result = invoke("product", "create", "--csv", "products.csv", "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("made the account default: LK")
    made = json.loads(result.stdout)
    assert made[0] == {
        "product_key": "a1Lamp00001",
        "product_name": "Lamp",
        "product_secret": "OldSecret0000000",
    }
    assert shown("a1Lamp00001")["dynamic_registration"] is True
    second = shown(made[1]["product_key"])
    assert (second["node_type"], second["data_format"], second["product_name"]) == (1, 1, "灯具")


def test_a_file_with_faults_makes_nothing() -> None:
    created("Taken", "--product-key", "a1Taken0001")
    Path("products.csv").write_text(
        "product_name,product_key,node_type\nLamp,a1Lamp00001,0\nTaken,,\nLamp,,\nNew1,a1Taken0001,\n"
        "New2,a1Lamp00001,\nab,,\nNew3,,7\n"
    )
    result = invoke("product", "create", "--csv", "products.csv")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [f"line {line}" for line in range(3, 9)]
    assert [product["product_name"] for product in json.loads(done("product", "list", "--json"))] == ["Taken"]


def test_a_file_may_fill_an_account_and_no_more() -> None:
    names = [f"Lamp-{number}" for number in range(PRODUCTS_PER_ACCOUNT_MAX + 1)]
    Path("all.csv").write_text("\n".join(["product_name", *names]))
    assert "maximum number of products (1000)" in told(1, "product", "create", "--csv", "all.csv")
    assert json.loads(done("product", "list", "--json")) == []
    Path("all.csv").write_text("\n".join(["product_name", *names[:-1]]))
    assert len(done("product", "create", "--csv", "all.csv").splitlines()) == PRODUCTS_PER_ACCOUNT_MAX + 1
    assert "maximum number of products (1000)" in told(1, "product", "create", names[-1])


def test_a_name_and_a_file_exclude_each_other() -> None:
    assert "give NAME or --csv FILE" in told(2, "product", "create")
    assert "give NAME or --csv FILE" in told(2, "product", "create", "Lamp", "--csv", "x.csv")
    assert "gone.csv: No such file" in told(1, "product", "create", "--csv", "gone.csv")
