import { h } from "preact";
import htm from "htm";
export { render } from "preact";
export { useEffect, useId, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, useSignal, useSignalEffect } from "@preact/signals";
export const html = htm.bind(h);
