// React 18, beside the newer one of the other tests.
export { default as React } from "react";
export { createRoot, hydrateRoot } from "react-dom/client";
export { renderToString } from "react-dom/server";
