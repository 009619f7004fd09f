import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// One file of a fixed name, which a template's {% static %} finds.
export default defineConfig({
  plugins: [react()],
  build: { rolldownOptions: { input: "src/main.tsx", output: { entryFileNames: "board.js" } } },
});
