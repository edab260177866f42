// A slider beside each weight: either moves the other, and what moves asks for a preview.
(function () {
  "use strict";

  document.querySelectorAll("input[data-weight]").forEach(function (slider) {
    var number = document.getElementById(slider.dataset.weight);
    slider.hidden = false;
    slider.addEventListener("input", function () {
      number.value = slider.value;
    });
    number.addEventListener("input", function () {
      slider.value = number.value;
    });
  });
})();
