import { render } from "preact";
import { takeToken } from "./api";
import { App } from "./app";
import { followAddress } from "./route";
import "./style.css";

takeToken();
followAddress();
render(<App />, document.getElementById("page")!);
